"""What Slurm's environment contains about the job that a process is part of.

As Slurm 22.05 does it (`tests/deploy/test_slurm.py` runs one). Prolog and epilog know a component of a heterogeneous
job by an id of its own and the whole by ``SLURM_HET_JOB_ID``. The batch script and the steps have the whole's id, but
a step over several components has the last one's partition, wherever it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_COMPONENT = re.compile(r"SLURM_JOB_ID_HET_GROUP_([0-9]{1,4})")
_HOSTS = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")
_NUMBERS = re.compile(r"\[([^\]]*)\]")
_MAX_DIGITS = 9


def job_id(environ: Mapping[str, str]) -> str:
    """The job's id, the same over requeues, with the task where it is one of an array; empty outside of Slurm."""
    name = variable(environ, "SLURM_JOB_ID")
    if not name:
        return ""
    whole = variable(environ, "SLURM_HET_JOB_ID")
    if whole not in {"", "0"}:
        return whole
    if components := _components(environ):
        return variable(environ, f"SLURM_JOB_ID_HET_GROUP_{components[0]}")
    array, task = (variable(environ, f"SLURM_ARRAY_{what}_ID") for what in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else name


def partition(environ: Mapping[str, str]) -> str:
    """The partition that this process runs in; empty if it cannot be determined."""
    components = _components(environ)
    if not components:
        return variable(environ, "SLURM_JOB_PARTITION")
    node = variable(environ, "SLURMD_NODENAME")
    named = {variable(environ, f"SLURM_JOB_PARTITION_HET_GROUP_{number}") for number in components}
    here = {
        variable(environ, f"SLURM_JOB_PARTITION_HET_GROUP_{number}")
        for number in components
        if holds(variable(environ, f"SLURM_JOB_NODELIST_HET_GROUP_{number}"), node)
    }
    (chosen,) = named if len(named) == 1 else here if len(here) == 1 else ("",)
    return chosen


def number(environ: Mapping[str, str]) -> str:
    """The job's own number, which an array's task has beside ``JOB_TASK``; its epilog knows no other."""
    return variable(environ, "SLURM_JOB_ID")


def account(environ: Mapping[str, str]) -> str:
    """The account that Slurm charges; empty if it has none."""
    return variable(environ, "SLURM_JOB_ACCOUNT")


def holds(listed: str, node: str) -> bool:
    """Whether ``node`` is one of ``listed``, as Slurm writes lists of hosts: ``gpu[01-04,07],login``."""
    return bool(node) and any(_is_one_of(pattern, node) for pattern in _HOSTS.findall(listed))


def variable(environ: Mapping[str, str], name: str) -> str:
    """The variable's value without blanks around it; empty if it is not set."""
    return environ.get(name, "").strip()


def _components(environ: Mapping[str, str]) -> list[int]:
    """Numbers of the job's components, in order; empty if it is not heterogeneous.

    Another job, submitted from inside of one that is, inherits its variables: they count where this job is among them.
    """
    components = {int(match[1]): environ[name].strip() for name in environ if (match := _COMPONENT.fullmatch(name))}
    return sorted(components) if variable(environ, "SLURM_JOB_ID") in components.values() else []


def _is_one_of(pattern: str, node: str) -> bool:
    pieces = _NUMBERS.split(pattern)  # text, numbers, text, numbers, ..., text
    shape = r"([0-9]+)".join(re.escape(text) for text in pieces[::2])
    match = re.fullmatch(shape, node)
    return match is not None and all(map(_is_in, match.groups(), pieces[1::2]))


def _is_in(number: str, ranges: str) -> bool:
    return any(_is_between(number, *each.partition("-")[::2]) for each in ranges.split(","))


def _is_between(number: str, low: str, high: str) -> bool:
    high = high or low
    if not all(word.isascii() and word.isdecimal() and len(word) <= _MAX_DIGITS for word in (number, low, high)):
        return False
    width = len(low) if low.startswith("0") else len(str(int(number)))
    return int(low) <= int(number) <= int(high) and len(number) == max(width, len(str(int(number))))
