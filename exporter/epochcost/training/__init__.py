"""Inside the user's process: the events of one training run, written with the standard library alone.

Nothing in this package ever raises into, blocks or ends the training, and it imports nothing from outside.
"""
