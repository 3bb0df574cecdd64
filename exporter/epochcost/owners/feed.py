"""Polls one source of owners on a thread of its own: a stuck one does not delay others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from epochcost.asking_thread import AskingThread
from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.owner_source import OwnerError, OwnerSource
from epochcost.owners.processes import ProcessOwners

log = logging.getLogger(__name__)
POLL_SECONDS = 10.0
FRESH_SECONDS = 30.0
"""What was reported longer ago does not show the present."""


class OwnerFeed(AskingThread):
    """Keeps what ``source`` last reported about ``gpus()``.

    Args:
        source: of owners.
        gpus: the GPUs of this node now; no request is sent while there are none.
        mono: seconds that never jump.
    """

    def __init__(
        self,
        source: OwnerSource,
        gpus: Callable[[], Sequence[GpuSample]],
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(f"epochcost-owners-{source.name}")
        self._source = source
        self._gpus = gpus
        self._mono = mono
        self._owners: tuple[GpuOwner, ...] = ()
        self._read_t = float("-inf")

    @property
    def name(self) -> str:
        """The source's."""
        return self._source.name

    def not_understood(self) -> Mapping[str, int]:
        """As reported by the source for its last response, if that is not too old."""
        return self._source.not_understood if self._mono() - self._read_t <= FRESH_SECONDS else {}

    def processes(self) -> Mapping[str, tuple[tuple[int, int | None], ...]]:
        """Processes by GPU, of a source that sees them, where its last response is not too old."""
        if not isinstance(self._source, ProcessOwners) or self._mono() - self._read_t > FRESH_SECONDS:
            return {}
        return self._source.seen

    def owners(self) -> tuple[GpuOwner, ...]:
        """The owners of the GPUs, as far as that was reported recently."""
        return self._owners if self._mono() - self._read_t <= FRESH_SECONDS else ()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask()
            self._stop.wait(POLL_SECONDS if self.last_duration is not None else 1.0)

    def _ask(self) -> bool:
        gpus = self._gpus()
        if not gpus:
            return True
        began = self._mono()
        error = ""
        try:
            self._owners = tuple(self._source.owners(gpus))
            self._read_t = began
        except OwnerError as err:
            error = str(err)
        except Exception as err:
            log.exception("%s failed with an unexpected error", self.name)
            error = f"{type(err).__name__}: {err}"
        if error and error != self.error:
            log.warning("owners: %s: %s", self.name, error)
        self.error, self.last_duration = error, self._mono() - began
        return not error
