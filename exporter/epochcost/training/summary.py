"""The one line at the end of a run."""

from __future__ import annotations

import sys
from typing import NamedTuple

from epochcost.training.cost import CostFile

MINUTES_FROM_SECONDS = 120.0
HOURS_FROM_SECONDS = 5400.0
ALWAYS = {"startup": "start-up", "idle": "idle"}
WHERE_IT_COUNTS = {"replay": "done again", "stalled": "stalled"}
"""Printed from half a percent on."""


class RunTotals(NamedTuple):
    """What one attempt did, as its own process counted: epochs where they are known, steps, and its duration."""

    run: str
    epochs: float | None
    steps: int
    seconds: float
    nodes: int | None = None


def summary(totals: RunTotals, costs: CostFile) -> str:
    """``run char-lm: 25 epochs, 2.97 h, $2.68 ($0.107 per epoch); 4 % start-up, 11 % idle``; only what is known.

    Time is that of the run on this node, all attempts together, as the agent counts it; without an agent that of this
    attempt. Dollars are the whole run's; else they are called this machine's part, and not divided by the run's epochs.
    """
    counted = costs.figure("seconds")
    parts = [amount_done(totals.epochs, totals.steps), duration(totals.seconds if counted is None else counted)]
    usd = costs.figure("cost_usd")
    if usd is not None:
        parts.append(money(usd) + _details(usd, totals, costs))
    shares = _shares(costs.seconds_by_state())
    return f"run {totals.run}: {', '.join(filter(None, parts))}{'; ' if shares else ''}{', '.join(shares)}"


def _details(usd: float, totals: RunTotals, costs: CostFile) -> str:
    part, machines = costs.part(totals.nodes), costs.machines()
    if part is not None:
        return f" ({part})"
    details = [f"{money(usd / totals.epochs)} per epoch"] if totals.epochs else []
    details += [f"{machines} machines"] if machines > 1 else []
    return f" ({', '.join(details)})" if details else ""


def amount_done(epochs: float | None, steps: int) -> str:
    """In epochs, else in steps."""
    if epochs is None:
        return f"{steps} steps" if steps else ""
    return f"{round(epochs, 2):g} epoch{'' if epochs == 1 else 's'}"


def duration(seconds: float) -> str:
    """In the unit that reads well."""
    if seconds < MINUTES_FROM_SECONDS:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < HOURS_FROM_SECONDS else f"{seconds / 3600:.2f} h"


def money(usd: float) -> str:
    """US dollars: to the cent from $1 on, else to three digits."""
    if usd >= 1 or usd == 0:
        return f"${usd:,.2f}"
    decimals = next((places for places in range(3, 12) if usd * 10**places >= 100), 12)  # noqa: PLR2004
    return f"${usd:.{decimals}f}"


def log_summary(line: str) -> None:
    """To logger ``epochcost`` as information; a program that never loaded logging wants to see none."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("epochcost").info("%s", line)


def _shown() -> bool:
    logging = sys.modules.get("logging")
    return logging is not None and bool(logging.getLogger("epochcost").isEnabledFor(logging.INFO))


log_summary.wanted = _shown  # type: ignore[attr-defined]


def _shares(seconds: dict[str, float]) -> list[str]:
    whole = sum(seconds.values())
    if whole <= 0:
        return []
    parts = {state: seconds.get(state, 0.0) / whole for state in (*ALWAYS, *WHERE_IT_COUNTS)}
    shares = [f"{parts[state]:.0%} {name}" for state, name in ALWAYS.items()]
    shares += [f"{parts[state]:.0%} {name}" for state, name in WHERE_IT_COUNTS.items() if parts[state] >= 0.005]  # noqa: PLR2004
    return [share.replace("%", " %") for share in shares]
