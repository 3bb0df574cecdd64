"""Settings of ``epochcost demo``."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.settings import address, number, option

LONGEST_HOURS = 24.0
SHORTEST_HOURS = 0.5


def hours(text: str) -> float:
    """How much is played."""
    value = number(text)
    if not SHORTEST_HOURS <= value <= LONGEST_HOURS:
        raise ValueError(f"expected {SHORTEST_HOURS:g} to {LONGEST_HOURS:g} hours")
    return value


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What is played, and where it is shown."""

    hours: float = option("hours", 6.0, "hours of simulated history before live simulation begins", parse=hours)
    web_listen_address: tuple[str, int] = option(
        "web.listen-address",
        ("127.0.0.1", 10837),
        "HOST:PORT of the simulated agents and poller; if in use, another port is chosen",
        parse=address,
    )
    prometheus_address: tuple[str, int] = option(
        "prometheus.listen-address",
        ("127.0.0.1", 9090),
        "HOST:PORT of the Prometheus that the demo starts; if in use, another port is chosen",
        parse=address,
    )
    alertmanager_address: tuple[str, int] = option(
        "alertmanager.listen-address",
        ("127.0.0.1", 9093),
        "HOST:PORT of the Alertmanager that the demo starts; if in use, another port is chosen",
        parse=address,
    )
    config_dir: str = option(
        "prometheus.config-dir",
        "",
        "directory with prometheus.yml, alertmanager.yml and rules/; empty: the one shipped with epochcost",
    )
    data_dir: str = option(
        "data.dir", "", "data directory, kept on exit; empty: a temporary directory, removed on exit"
    )
