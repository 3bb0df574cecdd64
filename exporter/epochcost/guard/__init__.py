"""The guard: what is paid for nothing ends by itself, where a policy requests it."""
