"""``epochcost demo``: a simulated fleet, played through the real agent and poller into a real Prometheus."""
