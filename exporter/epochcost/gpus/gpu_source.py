"""What every device source is: one read of all GPUs at a time, or a clear error."""

from __future__ import annotations

from typing import Protocol

from epochcost.model import GpuReading


class GpuError(Exception):
    """The GPUs could not be read; the text names the call, the GPU where it is one GPU's, and the driver's error."""


class NoDriverError(GpuError):
    """There is nothing of this kind to read here: no driver, no library, or no GPU."""


class DriverAwayError(NoDriverError):
    """The library is installed and reports no driver, or no GPU; both may appear later."""


class RestartNeededError(GpuError):
    """Only a new process can read the GPUs again."""


class GpuSource(Protocol):
    """The GPUs of this node, as reported by one driver, recording or service."""

    @property
    def name(self) -> str:
        """Its name in ``SOURCES``."""

    def read(self, t: float) -> GpuReading:
        """All GPUs now, stamped ``t`` (seconds, node timeline); a GPU that fails alone comes as not readable.

        Raises:
            GpuError: when no GPU can be read. An empty reading is never returned in its place.
        """

    def close(self) -> None:
        """Close the driver; a later `read` opens it again. Never raises."""
