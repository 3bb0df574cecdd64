"""GPUs by a DCGM exporter."""
