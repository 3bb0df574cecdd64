"""What ``scripts/up`` does once Python is there: start the parts, train the example, show what an epoch costs."""
