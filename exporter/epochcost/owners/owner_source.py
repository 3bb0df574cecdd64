"""The contract of a source of owners: a list of which owner uses which GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from epochcost.model import GpuOwner, GpuSample
from epochcost.shown_text import printable

MAX_CHARACTERS = 200


class OwnerError(Exception):
    """A source that exists cannot be read; the text contains its name, the request and the response."""


class OwnerSource(Protocol):
    """Something that knows the owners of this node's GPUs: a cluster's agent, a batch system, the kernel."""

    @property
    def name(self) -> str:
        """How it is called."""

    @property
    def not_understood(self) -> Mapping[str, int]:
        """Processes or devices of the last response that are on a GPU, in a form that is not known, by kind of form."""

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The owners of ``gpus``; nothing about a GPU that this source does not know of.

        Raises:
            OwnerError: when the source exists and cannot be read. One that does not exist returns nothing.
        """


class GpuProcesses(Protocol):
    """The processes that compute on each GPU, as the driver lists them."""

    def pids(self) -> Mapping[str, Mapping[int, int | None]]:
        """By GPU uuid: process id, as the machine's first PID namespace counts, and the bytes it holds if known.

        Raises:
            OSError: when the driver does not respond; the text contains the reason.
        """


def label(text: str) -> str:
    """Text as a label: one line, what cannot be shown becomes a question mark, at most 200 characters."""
    return printable(text).strip()[:MAX_CHARACTERS]
