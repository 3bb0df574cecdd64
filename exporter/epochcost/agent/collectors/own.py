"""Metrics of the agent itself."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import TypeAlias

from epochcost._version import __version__
from epochcost.agent.collectors.family import Family, one
from epochcost.agent.snapshot import CollectorHealth, Snapshot

Healths: TypeAlias = Callable[[Snapshot], Mapping[str, CollectorHealth]]


def own(healths: Healths) -> tuple[Family, ...]:
    """The metrics of an agent; ``healths`` returns how its collectors went, by name."""
    return (
        Family(
            "build_info",
            "Version of epochcost (with +simulated if all data is simulated) and of Python.",
            ("version", "python"),
            lambda s: [((f"{__version__}{'+simulated' if s.simulated else ''}", platform.python_version()), 1)],
        ),
        *_of_collectors(healths),
        Family("sample_timestamp_seconds", "Time of the last sample.", (), one(lambda s: s.t)),
        *_of_events(),
        Family(
            "clock_jumps_total",
            "Wall clock jumps that were detected and ignored.",
            (),
            one(lambda s: s.clock_jumps),
        ),
    )


def _of_collectors(healths: Healths) -> tuple[Family, ...]:
    return (
        Family(
            "collector_success",
            "1 if the collector's last run succeeded, else 0; collectors metrics_... write the rows of this page.",
            ("collector",),
            lambda s: [((name,), health.success) for name, health in healths(s).items()],
        ),
        Family(
            "collector_duration_seconds",
            "Duration of the collector's last run, in seconds.",
            ("collector",),
            lambda s: [((name,), health.duration_seconds) for name, health in healths(s).items()],
        ),
        Family(
            "price_contradictions_total",
            "Responses of other price pollers behind the same name that contradicted the poller in use.",
            (),
            lambda s: [((), health.contradictions) for name, health in healths(s).items() if name == "price"],
        ),
    )


def _of_events() -> tuple[Family, ...]:
    return (
        Family(
            "progress_events_total",
            "Training events processed, by result.",
            ("result",),
            lambda s: [((result,), count) for result, count in s.events.items()],
        ),
        Family(
            "progress_refused_total",
            "Event lines and files rejected because their user exceeds a quota, by reason.",
            ("user", "reason"),
            lambda s: [*s.refused.items()],
        ),
    )


OWN: tuple[Family, ...] = own(lambda snapshot: snapshot.health)
