"""Google TPUs by the metrics service of libtpu."""
