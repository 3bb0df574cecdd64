"""The guard: ends what is paid for nothing, if a policy requests it."""
