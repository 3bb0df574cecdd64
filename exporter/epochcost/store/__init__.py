"""A store that responds PromQL: Prometheus, VictoriaMetrics, Thanos, Mimir. Read by reports and by the agent."""
