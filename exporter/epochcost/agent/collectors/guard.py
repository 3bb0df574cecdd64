"""Metrics of the guard: what it waits for, active keeps, and what it has done. None without a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from epochcost.agent.collectors.family import Family, Row, Rows
from epochcost.agent.snapshot import Snapshot

if TYPE_CHECKING:
    from epochcost.guard.decisions import GuardView
    from epochcost.guard.keeps import Keep


MAX_SHOWN = 50
"""Keeps that have a series."""


def _rows(rows: Callable[[GuardView], Iterable[Row]]) -> Rows:
    def of(snapshot: Snapshot) -> Iterable[Row]:
        return [] if snapshot.guard is None else rows(snapshot.guard)

    return of


GUARD: tuple[Family, ...] = (
    Family(
        "guard_policy_info",
        "Guard policies in force; dry_run is true if the policy only reports what it would do.",
        ("policy", "dry_run"),
        _rows(lambda g: [((p.name, str(p.dry_run).lower()), 1) for p in g.policies]),
    ),
    Family(
        "guard_evidence",
        "1 while the guard has the evidence to decide, 0 while something is unknown and every wait starts over.",
        (),
        _rows(lambda g: [((), not g.void)]),
    ),
    Family(
        "guard_waiting_seconds",
        "How long the condition of a policy has held without a gap; run is empty for the whole machine.",
        ("policy", "run", "condition"),
        _rows(lambda g: [((w.policy, w.subject, w.condition), w.seconds) for w in g.waiting]),
    ),
    Family(
        "guard_next_step_timestamp_seconds",
        "Time of a policy's next step, if all its conditions still hold then.",
        ("policy", "run", "step", "dry_run"),
        _rows(lambda g: [((w.policy, w.subject, w.next_step, str(w.dry_run).lower()), w.next_ts) for w in g.waiting]),
    ),
    Family(
        "guard_gave_up",
        "1 if the command of a policy failed on every attempt, 0 while it waits.",
        ("policy", "run"),
        _rows(lambda g: [((w.policy, w.subject), w.gave_up) for w in g.waiting]),
    ),
    Family(
        "guard_keep_until_timestamp_seconds",
        "Time until which somebody keeps a run, or everything of theirs (run is empty), and why.",
        ("run", "by", "why"),
        _rows(lambda g: [((k.subject, k.by, k.why), k.until_t) for k in _newest(g)]),
    ),
    Family(
        "guard_actions_total",
        "Policy steps by result: done, dry_run, failed, kept, withdrawn, limited, gave_up.",
        ("policy", "step", "result"),
        _rows(lambda g: [(key, n) for key, n in g.actions.items()]),
    ),
    Family(
        "guard_ended_usd_per_hour_total",
        "Total hourly cost of everything that was ended (done), or would have been (dry_run).",
        ("policy", "result"),
        _rows(lambda g: [(key, usd) for key, usd in g.ended_usd_per_hour.items()]),
    ),
    Family(
        "guard_wasted_usd_total",
        "Cost wasted by it until it was ended, or would have been.",
        ("policy", "result"),
        _rows(lambda g: [(key, usd) for key, usd in g.wasted_usd.items()]),
    ),
)


def _newest(view: GuardView) -> list[Keep]:
    """One keep for each set of labels, the one that lasts longest; of very many those that last longest."""
    longest: dict[tuple[str, str, str], Keep] = {}
    for keep in sorted(view.keeps, key=lambda keep: keep.until_t):
        longest[keep.subject, keep.by, keep.why] = keep
    return sorted(longest.values(), key=lambda keep: -keep.until_t)[:MAX_SHOWN]
