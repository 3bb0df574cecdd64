"""`epochcost job`: what a launcher's job has cost on this machine, in a few lines, as the local agent knows it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from epochcost.http_client import OK, Bounds, ExchangeError, Request, ask
from epochcost.model import is_number
from epochcost.shown_text import MAX_NAME, printable

SECONDS = 5.0
MAX_BYTES = 4 * 1024 * 1024


class JobError(Exception):
    """Nothing is known of the job; the text gives the reason."""


def runs_of(url: str, job: str) -> list[Mapping[str, Any]]:
    """The runs of ``job`` that the agent at ``url`` shows; an array's task goes by both of its names.

    Raises:
        JobError: without a response of an agent.
    """
    address = f"{url.rstrip('/')}/v1/live"
    try:
        answer = ask(Request(address, by_proxy=False), Bounds(time.monotonic() + SECONDS, MAX_BYTES))
        if answer.status != OK:
            raise JobError(f"{address}: HTTP {answer.status}")
        document = json.loads(answer.body)
        return [run for run in document["runs"] if job in {run["launcher_job"], run.get("slurm_job_id")}]
    except ExchangeError as err:
        raise JobError(f"{address}: {err}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise JobError(f"{address}: not a response of an agent ({type(err).__name__})") from None


def lines_of(job: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for the job, one for each of its runs; what is not known is left out."""
    lines = [_line_of(run) for run in runs]
    if len(runs) < 2:  # noqa: PLR2004 - one line is enough for one run
        return [f"epochcost: job {job}: {line}" for line in lines]
    costs = [_number(run.get("machine_cost_usd")) for run in runs]
    known = [usd for usd in costs if usd is not None]
    whole = f"${sum(known):.2f} on this machine" if len(known) == len(costs) else "dollars not known"
    return [f"epochcost: job {job}: {len(runs)} runs, {whole}", *(f"  {line}" for line in lines)]


def _line_of(run: Mapping[str, Any]) -> str:
    facts = [f"run {_word(run.get('run'))}", _word(run.get("state"))]
    if (epochs := _number(run.get("epochs_useful"))) is not None:
        facts.append(f"{epochs:g} epochs")
    if (each := _number(run.get("mean_epoch_cost_usd"))) is not None:
        facts.append(f"${each:.4g} an epoch")
    if (usd := _number(run.get("cost_usd"))) is not None:
        facts.append(f"${usd:.2f}" if run.get("scope") == "run" else f"${usd:.2f} on this machine")
    seconds = _seconds(run.get("states"))
    if whole := sum(seconds.values()):
        facts.append(" ".join(f"{name} {100 * part / whole:.0f}%" for name, part in seconds.items()))
    return ", ".join(facts)


def _seconds(states: object) -> dict[str, float]:
    if not isinstance(states, Mapping):
        return {}
    parts = {_word(name): part.get("seconds") for name, part in states.items() if isinstance(part, Mapping)}
    return {name: seconds for name, part in parts.items() if (seconds := _number(part)) is not None and seconds > 0}


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None


def _word(value: object) -> str:
    return printable(str(value))[:MAX_NAME]
