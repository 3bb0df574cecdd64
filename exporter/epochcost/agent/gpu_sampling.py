"""The GPUs of this machine as the agent samples them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.snapshot import CollectorHealth
from epochcost.gpus import choose_source
from epochcost.gpus.gpu_source import GpuError
from epochcost.gpus.sampler import Sampler
from epochcost.model import GpuReading, GpuSample

STUCK_SECONDS = 5.0
"""A reading that takes longer is reported as stuck."""


class GpuSampling:
    """The chosen source of GPU readings, and the thread that reads it.

    Args:
        settings: which source, and how often it is read.
        now: the node timeline.

    Attributes:
        source: None on a node that is accounted by its CPUs.
        reason: why this source, or none, as a sentence for people.
        sampler: None before `start` and without a source.
    """

    def __init__(self, settings: AgentSettings, now: Callable[[], float]) -> None:
        try:
            chosen = choose_source(settings.gpus_source, dcgm_url=settings.dcgm_url)
        except GpuError as err:
            raise type(err)(f"--gpus.source={settings.gpus_source}: {err}") from None
        self.source, self.reason = chosen.source, chosen.reason
        self.sampler: Sampler | None = None
        self._interval = settings.sample_interval
        self._now = now

    @property
    def name(self) -> str:
        """Of the source; empty if there is none."""
        return self.source.name if self.source is not None else ""

    @property
    def latest(self) -> GpuReading | None:
        """The newest reading; None before the first."""
        return self.sampler.latest if self.sampler is not None else None

    def start(self, restart_needed: Callable[[str], None]) -> None:
        """Begin to read; ``restart_needed`` is called with the reason when only a new process can continue."""
        if self.source is not None:
            self.sampler = Sampler(self.source, self._interval, self._now, restart_needed)
            self.sampler.start()

    def stop(self) -> None:
        """Stop reading."""
        if self.sampler is not None:
            self.sampler.stop()

    def known(self) -> Sequence[GpuSample] | None:
        """The GPUs as last read; None if they have not been read yet, empty if there is no source."""
        if self.source is None:
            return ()
        latest = self.latest
        return None if latest is None else latest.gpus

    def health(self, now: float) -> CollectorHealth | None:
        """How reading goes; None if nothing is read."""
        if self.sampler is None:
            return None
        stuck, usual = self.sampler.stuck_seconds(now), self.sampler.last_duration
        latest = self.latest
        error = self.sampler.error or ""
        if not error and stuck > STUCK_SECONDS + 2 * (usual or 0.0):
            error = f"a driver call has not returned for {stuck:.0f} s"
        error = error or stuck_in(latest)
        return CollectorHealth(not error, usual or stuck, error, slowness(latest, self._interval))


def stuck_in(reading: GpuReading | None) -> str:
    """The call that a GPU is stuck in, as a sentence; empty when none is."""
    stuck = [g for g in reading.gpus if g.stuck_call] if reading else []
    if not stuck:
        return ""
    who = ", ".join(g.index for g in stuck)
    return f"GPU {who}: {stuck[0].stuck_call} has not returned for {stuck[0].stuck_seconds or 0:.0f} s"


def slowness(reading: GpuReading | None, interval: float) -> str:
    """That the driver does not keep pace, as a sentence; empty when it does."""
    seconds = reading.read_seconds if reading else None
    if reading is None or seconds is None or seconds <= interval:
        return ""
    call = f"; the slowest call is {reading.slowest_call}" if reading.slowest_call else ""
    return f"the driver is slow: reading one GPU takes {seconds:.1f} s, so its figures are that old{call}"
