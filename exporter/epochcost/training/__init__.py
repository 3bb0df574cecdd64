"""Inside the user's process: the events of one training run, written with the standard library alone.

Nothing in this room ever raises into, blocks or ends the training; nothing outside the room is imported by it.
"""
