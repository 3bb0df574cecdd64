"""A store that answers PromQL: Prometheus, VictoriaMetrics, Thanos, Mimir. Read by reports and by the agent."""
