"""Simulated machines whose script is known, to see that a guard ends what it should and nothing else."""
