"""A machine without GPUs: its CPUs and memory."""
