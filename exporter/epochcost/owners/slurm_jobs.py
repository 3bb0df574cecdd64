"""Which Slurm job a process belongs to, if its control group has only the job's other id (a SLUID).

Slurm's own list of processes is read, once for each job; without one, the one variable of the process's environment
that Slurm sets. Nothing else of the environment is kept.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

QUESTION_SECONDS = 3.0
MOST_JOBS = 1000
VARIABLE = b"SLURM_JOB_ID="


def listed_pids() -> str:
    """Output of ``scontrol listpids`` on this machine; empty without Slurm, or if it does not respond."""
    import shutil
    import subprocess

    program = shutil.which("scontrol")
    if program is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own program, without anything of others
            [program, "listpids"], capture_output=True, text=True, timeout=QUESTION_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError, ValueError) as err:
        log.warning("owners: scontrol listpids: %s", err)
        return ""
    return done.stdout if done.returncode == 0 else ""


class SlurmJobs:
    """Job numbers by SLUID, remembered: a SLUID never means another job.

    Args:
        listed: Slurm's list of processes, as ``scontrol listpids`` prints it.
    """

    def __init__(self, listed: Callable[[], str] = listed_pids) -> None:
        self._listed = listed
        self._jobs: OrderedDict[str, str] = OrderedDict()
        self._requested: set[str] = set()

    def job_of(self, sluid: str, pid: int, environment: Callable[[], bytes]) -> str:
        """The job's number, empty if unknown.

        Args:
            sluid: as in the control group's path.
            pid: a process of it.
            environment: of that process.
        """
        if sluid in self._jobs:
            return self._jobs[sluid]
        job = self._by_list(sluid, pid) or self._by_environment(environment)
        if job:
            self._jobs[sluid] = job
            while len(self._jobs) > MOST_JOBS:
                self._jobs.popitem(last=False)
        elif sluid not in self._requested:
            self._requested.add(sluid)
            log.warning("owners: the ID of Slurm job %s cannot be determined: the job is shown by that name", sluid)
        return job

    def _by_list(self, sluid: str, pid: int) -> str:
        return "" if sluid in self._requested else jobs_by_pid(self._listed()).get(pid, "")

    @staticmethod
    def _by_environment(environment: Callable[[], bytes]) -> str:
        try:
            variable = next((v for v in environment().split(b"\0") if v.startswith(VARIABLE)), b"")
        except OSError:  # another user's, and this agent is not root
            return ""
        job = variable.removeprefix(VARIABLE).decode("ascii", "replace")
        return job if re.fullmatch(r"\d{1,10}", job, re.ASCII) else ""


def jobs_by_pid(listed: str) -> Mapping[int, str]:
    """``PID JOBID STEPID LOCALID GLOBALID``, a line each, as job numbers by process id."""
    rows = (line.split() for line in listed.splitlines())
    return {int(row[0]): row[1] for row in rows if len(row) > 1 and row[0].isdecimal() and row[1].isdecimal()}
