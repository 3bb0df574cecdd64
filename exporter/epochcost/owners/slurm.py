"""Owners by a directory that Slurm's prolog fills: one file a GPU, one line a job."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.owner_source import OwnerError, label
from epochcost.untrusted_files import open_directory, printable_name, read_regular, trusted_owners

log = logging.getLogger(__name__)

LINE = re.compile(r"(?P<job>[0-9]+(?:_[0-9]+)?)(?:\s+(?P<user>\S{1,64}))?")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
MAX_FILE_BYTES = 65536


class SlurmAllocations:
    """Files named by the GPU's index or UUID in ``directory``, each line ``JOBID`` or ``JOBID USER``.

    Anyone who can write there decides on the GPUs' owners. So the directory must belong to root or the agent's user,
    and nobody else may write to it; the same applies to files in it, and no link is followed.

    The same directory serves as the job mapping directory of NVIDIA's dcgm-exporter. ``docs/owners.md`` has the prolog.
    """

    name = "slurm"

    def __init__(self, directory: Path) -> None:
        self.not_understood: Mapping[str, int] = {}
        """Lines of the last listing that are not jobs, such as ``prolog``."""
        self._odd = 0
        self._directory = directory
        self._logged: set[str] = set()

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The jobs that hold each GPU, in equal parts; see `OwnerSource`."""
        try:
            directory = open_directory(self._directory, owners=trusted_owners())
        except FileNotFoundError:
            return []
        except OSError as err:
            raise OwnerError(f"{self._directory}: {err.strerror}") from None
        try:
            named = [(gpu.uuid, name.replace("/", "_")) for gpu in gpus for name in (gpu.uuid, gpu.index)]
            self._odd = 0
            jobs = [
                job for uuid, name in named if FILE_NAME.fullmatch(name) for job in self._jobs(uuid, name, directory)
            ]
            self.not_understood = {"prolog": self._odd} if self._odd else {}
            return jobs
        finally:
            os.close(directory)

    def _jobs(self, uuid: str, name: str, directory: int) -> list[GpuOwner]:
        try:
            content = read_regular(name, MAX_FILE_BYTES, owners=trusted_owners(), directory=directory)
        except FileNotFoundError:
            return []
        except OSError as err:
            raise OwnerError(f"{self._directory / name}: {err.strerror}") from None
        lines = enumerate(content.decode("utf-8", "replace").splitlines(), start=1)
        return [job for number, line in lines if line.strip() and (job := self._job(uuid, name, number, line))]

    def _job(self, uuid: str, name: str, number: int, line: str) -> GpuOwner | None:
        match = LINE.fullmatch(line.strip())
        if match is not None:
            return GpuOwner(uuid, "slurm", match["job"], 1.0, user=label(match["user"] or ""))
        self._odd += 1
        if name not in self._logged:
            self._logged.add(name)
            # The line's number, not its content: the log is read by more people than the file.
            place = printable_name(self._directory / name)
            log.warning("%s: line %d is not a job ID with an optional user: ignored", place, number)
        return None
