"""The price poller: keeps what an hour costs, for Prometheus and for agents."""
