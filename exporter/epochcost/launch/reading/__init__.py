"""Progress read from the output and the files of a training command."""
