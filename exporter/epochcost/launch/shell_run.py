"""The run of a shell that names none: within a launcher's job, the one that it has started.

``epochcost event start`` gets its run's id as a training process does (`epochcost.training.run_name`). Each line
contains the processes above the command: what a shell reports later belongs to the open run that was last reported from
nearest to it, so that two loops side by side in one job are two runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epochcost.training.host import name_in_files
from epochcost.training.job import safe
from epochcost.training.process_tree import is_anothers, nearest_common, written_by
from epochcost.training.run_name import LaunchContext, RunName, last_event

RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


@dataclass(frozen=True, slots=True)
class _ShellRun:
    """The last line of a run that a shell reports."""

    run: str
    is_open: bool
    by: list[str]
    changed: float
    experiment: object


def shell_file(run: str) -> str:
    """The name of the file of a run that shells report, without its ending."""
    return f"{run[:100]}-{name_in_files()}-shell"


def run_of_shell(launch: LaunchContext, kind: str, experiment: str, processes: Sequence[str], directory: Path) -> str:
    """The id of the run that an event is about; empty without a job.

    Args:
        launch: of the command: after a requeue, shells that pass the same at the start get the same id again.
        kind: of the event.
        experiment: of the run, if the event names one.
        processes: the processes above the command.
        directory: of the events, locked until the event is written.

    Raises:
        ValueError: if more than one run is possible.
    """
    job, base = launch.job, launch.base
    if not base or _is_a_rank(launch):
        return base
    shell_runs = _shell_runs(directory, base, job.job)
    open_runs = [one for one in shell_runs if one.is_open]
    if kind != "start":
        return _nearest(open_runs, processes, job.job) or _newest_of(shell_runs, processes) or base
    repeated = [one for one in open_runs if len(processes) > 1 and one.by[1:] == processes[1:]]
    if repeated and repeated[0].experiment in (
        None,
        experiment or None,
    ):  # reported twice, or begun again without an end
        return repeated[0].run
    run = RunName(launch, "", experiment, lambda: directory).first()
    if any(one.run == run and is_anothers(one.by, processes) for one in open_runs):
        raise ValueError(_unclear([run], job.job))
    return run


def _is_a_rank(launch: LaunchContext) -> bool:
    """Whether the shell is one of the processes of a world: all of these are one run. A batch script is none."""
    job, ranked = launch.job, any(launch.environ.get(name, "").strip() for name in RANKS)
    return (job.world or 1) > 1 and (ranked or job.launcher != "slurm" or launch.base != job.job)


def _shell_runs(directory: Path, base: str, job: str) -> list[_ShellRun]:
    """What this user's shells on this machine reported last of each run of ``job``."""
    runs, begins = [], base[:100] if safe(base) == base else ""
    for name in os.listdir(directory):  # noqa: PTH208 - names
        if not (name.startswith(begins) and shell_file("") in name and name.endswith(".jsonl")):
            continue
        path = directory / name
        last = last_event(str(path))
        run, by = last.get("run"), written_by(last)
        if isinstance(run, str) and by and last.get("job") == job:
            runs.append(_ShellRun(run, last.get("ev") != "end", by, path.lstat().st_mtime, last.get("experiment")))
    return runs


def _nearest(runs: Sequence[_ShellRun], processes: Sequence[str], job: str) -> str:
    """Of ``runs`` the one reported from nearest; empty if there is none."""
    steps = [nearest_common(one.by, processes) for one in runs]
    nearest = [one.run for one, away in zip(runs, steps, strict=True) if away == min(steps)]
    if len(nearest) > 1:
        raise ValueError(_unclear(nearest, job))
    return "".join(nearest)


def _newest_of(runs: Sequence[_ShellRun], processes: Sequence[str]) -> str:
    """The run that ended last of those reported from nearest: more may be reported of it. Empty if there is none."""
    order = sorted(runs, key=lambda one: (nearest_common(one.by, processes), -one.changed))
    return order[0].run if order else ""


def _unclear(runs: Sequence[str], job: str) -> str:
    are = "is" if len(runs) == 1 else "are"
    return (
        f"{', '.join(sorted(runs))} of job {job} {are} reported by other shells of this machine: specify which run is "
        "meant with --run or EPOCHCOST_RUN"
    )
