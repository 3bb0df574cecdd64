"""Around a training run that knows nothing of epochcost: its command is run as one run, and what it prints is read.

The standard library alone, for it is meant for training images with the base install.
"""
