"""Which run a shell means that names none: within a launcher's job, the one that it has started.

``epochcost event start`` gets its run's id as a training process does (`epochcost.training.run_name`). Each line says
which processes are above the command: what a shell reports later belongs to the open run that was last reported from
nearest to it, so that two loops side by side in one job are two runs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epochcost.training.host import name_in_files
from epochcost.training.job import Job, job_run_id, safe
from epochcost.training.process_tree import is_anothers, nearest_common, written_by
from epochcost.training.run_name import RunName, last_words

RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


@dataclass(frozen=True, slots=True)
class _Told:
    """The last line of a run that a shell reports."""

    run: str
    is_open: bool
    by: list[str]
    changed: float
    experiment: object


def shell_file(run: str) -> str:
    """The name of the file of a run that shells report, without its ending."""
    return f"{run[:100]}-{name_in_files()}-shell"


def run_of_shell(  # noqa: PLR0913, PLR0917 - what an id is made of
    environ: Mapping[str, str],
    within: Job,
    told: argparse.Namespace,
    experiment: str,
    mine: Sequence[str],
    directory: Path,
) -> str:
    """The id of the run that an event is about; empty without a job.

    Args:
        environ: of the command.
        within: its job.
        told: the arguments: after a requeue, shells that say the same at the start get the same id again.
        experiment: of the run, where the event says so.
        mine: the processes above the command.
        directory: of the events, locked until the event is written.

    Raises:
        ValueError: if that cannot be told.
    """
    base = job_run_id(environ)
    if not base or _is_a_rank(environ, within, base):
        return base
    known = _told(directory, base, within.job)
    open_runs = [one for one in known if one.is_open]
    if told.kind != "start":
        return _nearest(open_runs, mine, within.job) or _newest_of(known, mine) or base
    again = [one for one in open_runs if len(mine) > 1 and one.by[1:] == mine[1:]]
    if again and again[0].experiment in (None, experiment or None):  # said twice, or begun anew without an end
        return again[0].run
    name = RunName(environ, within, "", experiment, lambda: directory, base=base, command=sorted(told.values))
    run = name.first()
    if any(one.run == run and is_anothers(one.by, mine) for one in open_runs):
        raise ValueError(_unclear([run], within.job))
    return run


def _is_a_rank(environ: Mapping[str, str], within: Job, base: str) -> bool:
    """Whether the shell is one of the processes of a world: all of these are one run. A batch script is none."""
    ranked = any(environ.get(name, "").strip() for name in RANKS)
    return (within.world or 1) > 1 and (ranked or within.launcher != "slurm" or base != within.job)


def _told(directory: Path, base: str, job: str) -> list[_Told]:
    """What this user's shells on this machine said last of each run of ``job``."""
    found, begins = [], base[:100] if safe(base) == base else ""
    for name in os.listdir(directory):  # noqa: PTH208 - names
        if not (name.startswith(begins) and shell_file("") in name and name.endswith(".jsonl")):
            continue
        path = directory / name
        last = last_words(str(path))
        run, by = last.get("run"), written_by(last)
        if isinstance(run, str) and by and last.get("job") == job:
            found.append(_Told(run, last.get("ev") != "end", by, path.lstat().st_mtime, last.get("experiment")))
    return found


def _nearest(runs: Sequence[_Told], mine: Sequence[str], job: str) -> str:
    """Of ``runs`` the one reported from nearest; empty if there is none."""
    steps = [nearest_common(one.by, mine) for one in runs]
    nearest = [one.run for one, away in zip(runs, steps, strict=True) if away == min(steps)]
    if len(nearest) > 1:
        raise ValueError(_unclear(nearest, job))
    return "".join(nearest)


def _newest_of(runs: Sequence[_Told], mine: Sequence[str]) -> str:
    """The run that ended last of those reported from nearest: more may be said of it. Empty if there is none."""
    order = sorted(runs, key=lambda one: (nearest_common(one.by, mine), -one.changed))
    return order[0].run if order else ""


def _unclear(runs: Sequence[str], job: str) -> str:
    are = "is" if len(runs) == 1 else "are"
    return (
        f"{', '.join(sorted(runs))} of job {job} {are} reported by other shells of this machine: say which run is "
        "meant with --run or EPOCHCOST_RUN"
    )
