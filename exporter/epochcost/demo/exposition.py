"""What Prometheus would have stored of a scrape, as OpenMetrics lines with their time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from prometheus_client import CollectorRegistry

from epochcost.demo.scenario import CLUSTER
from epochcost.demo.simulated_agent import Fleet

POLLER = "sim-prices"
AGENT_JOB, POLLER_JOB = "epochcost-agent", "epochcost-prices"
Labels = Mapping[str, str]


def scraped(fleet: Fleet, t: float) -> Iterator[str]:
    """Every sample of every target at ``t`` (seconds since the beginning of the simulation)."""
    for agent in fleet.agents:
        if agent.exists(t):
            registry = agent.registry if agent.up(t) else None
            yield from _target(AGENT_JOB, agent.machine.cluster, agent.machine.name, registry, fleet.epoch_ts + t)
    market = fleet.market.registry if fleet.market.up(t) else None
    yield from _target(POLLER_JOB, CLUSTER, POLLER, market, fleet.epoch_ts + t)


@lru_cache(maxsize=10_000)
def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _target(job: str, cluster: str, instance: str, registry: CollectorRegistry | None, ts: float) -> Iterator[str]:
    target = {"cluster": cluster, "job": job, "instance": instance}
    suffix = "," + ",".join(f"{name}={json.dumps(value)}" for name, value in target.items()) + "}"
    stamp = f" {ts:.3f}\n"
    count = 0
    for metric in registry.collect() if registry is not None else ():
        for sample in metric.samples:
            labels = ",".join([f"{k}={_quoted(v)}" for k, v in sample.labels.items() if v])
            yield f"{sample.name}{{{labels}{suffix if labels else suffix[1:]} {float(sample.value)!r}{stamp}"
            count += 1
    own = "{" + suffix[1:]
    yield f"up{own} {int(registry is not None)}{stamp}"
    yield f"scrape_samples_scraped{own} {count}{stamp}"
    yield f"scrape_duration_seconds{own} {0.002 + 1e-5 * count!r}{stamp}"
