"""Owners by a directory that Slurm's prolog fills: one file a GPU, one line a job."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.owner_source import OwnerError, label

log = logging.getLogger(__name__)

LINE = re.compile(r"(?P<job>[0-9]+(?:_[0-9]+)?)(?:\s+(?P<user>\S{1,64}))?")
MAX_FILE_BYTES = 4096


class SlurmAllocations:
    """Files named by the GPU's index or UUID in ``directory``, each line ``JOBID`` or ``JOBID USER``.

    The same directory serves as the job mapping directory of NVIDIA's dcgm-exporter. ``docs/owners.md`` has the prolog.
    """

    name = "slurm"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._told: set[Path] = set()

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The jobs that hold each GPU, in equal parts; see `OwnerSource`."""
        if not self._directory.is_dir():
            return []
        return [owner for gpu in gpus for name in (gpu.uuid, gpu.index) for owner in self._jobs(gpu.uuid, name)]

    def _jobs(self, uuid: str, name: str) -> list[GpuOwner]:
        path = self._directory / name.replace("/", "_")
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as err:
            raise OwnerError(f"{path}: {err.strerror}") from None
        lines = [line for line in text.splitlines() if line.strip()]
        return [job for line in lines if (job := self._job(uuid, path, line))]

    def _job(self, uuid: str, path: Path, line: str) -> GpuOwner | None:
        found = LINE.fullmatch(line.strip())
        if found is not None:
            return GpuOwner(uuid, "slurm", found["job"], 1.0, user=label(found["user"] or ""))
        if path not in self._told:
            self._told.add(path)
            log.warning("%s: %r is no line of a job id and perhaps a user: left out", path, line[:40])
        return None
