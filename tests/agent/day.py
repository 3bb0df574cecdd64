"""A day of one machine: eight GPUs, six runs, something wrong every half a minute; the clock is the script's."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine

from epochcost.agent.price_feed import PriceFeed
from epochcost.gpus.replay import Moment, ReplaySource
from epochcost.gpus.sampler import Sampler
from epochcost.model import GpuReading, GpuSample, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.quote import NodePrice

GPUS, RUNS = 8, 6
FAULT_SECONDS = 30.0
BEAT_SECONDS = 5.0
SAVE_SECONDS = 300.0
KEY = PriceKey("aws", "us-east-1", "us-east-1a", "p5.48xlarge", PurchaseOption.SPOT)


def gpu(index: int, **figures: Any) -> GpuSample:
    values = {"utilization_ratio": 0.9, "memory_used_bytes": 60 << 30, "memory_total_bytes": 80 << 30}
    values |= {"power_watts": 500.0, "sm_active_ratio": 0.4, "temperature_celsius": 60.0, **figures}  # type: ignore[dict-item]
    return GpuSample(str(index), f"GPU-{index}", "NVIDIA H100 80GB HBM3", **values)  # type: ignore[arg-type]


def faults() -> Iterator[tuple[tuple[GpuSample, ...], str]]:
    """The driver's results in each half minute of a cycle: samples, or an error."""
    every = tuple(gpu(i) for i in range(GPUS))
    lost_gpu = GpuSample("3", "GPU-3", "NVIDIA H100 80GB HBM3", readable=False)
    stuck = GpuSample("6", "GPU-6", "NVIDIA H100 80GB HBM3", readable=False, stuck_call="x", stuck_seconds=9.0)
    yield every, ""
    yield (*every[:3], lost_gpu, *every[4:]), ""
    yield (), "nvmlDeviceGetCount: Unknown Error"
    yield every, ""
    yield tuple(gpu(i, utilization_ratio=None) for i in range(GPUS)), ""
    yield every[:7], ""
    yield (*every[:6], stuck, every[7]), ""
    yield tuple(gpu(i, utilization_ratio=0.0, power_watts=None, sm_active_ratio=None) for i in range(GPUS)), ""


def recording() -> ReplaySource:
    moments = []
    for number, (gpus, error) in enumerate(faults()):
        t = number * FAULT_SECONDS
        moments.append(Moment(t, error=error) if error else Moment(t, GpuReading(t, gpus, "550")))
    return ReplaySource(moments, repeat_after=len(moments) * FAULT_SECONDS)


@dataclass
class Market:
    """A spot price that changes every forty minutes, published ten minutes late."""

    machine: SimulatedMachine

    def steps(self, until: float) -> list[PriceStep]:
        changes = range(max(1, int((until - T0) // 2400) + 1))
        first = [PriceStep(T0 - 86400.0, 30.0)]
        return [*first, *(PriceStep(T0 + n * 2400.0, 30.0 + 5 * (n % 4)) for n in changes if n)]

    def fetch(self, now: float) -> NodePrice:
        return NodePrice(Price(KEY, tuple(self.steps(self.machine.wall - 600)), "aws", now), 98.32)

    def bill(self, start: float, end: float) -> float:
        steps = [*self.steps(end), PriceStep(math.inf, 1.0)]
        return sum(a.usd_per_hour * max(0.0, min(end, b.ts) - max(start, a.ts)) / 3600 for a, b in pairwise(steps))


class Day:
    """One machine and its agent, which is killed and started again now and then."""

    def __init__(self, root: Path, *, kills: bool = True) -> None:
        self.machine = SimulatedMachine(root)
        self.kills = kills
        self.market = Market(self.machine)
        self.fault = 0
        self.start: float | None = None
        self.it = self._agent()

    def _agent(self) -> DrivenAgent:
        it = DrivenAgent(self.machine, sample__interval=f"{BEAT_SECONDS:g}s")
        source = recording()
        source.read(T0)  # the cycle begins with the day, whichever agent reads it
        it.app.gpus.source = source
        it.app.gpus.sampler = Sampler(source, BEAT_SECONDS, it.app.clock.now)
        it.app.machine.prices = PriceFeed(self.market, 60.0, lambda: self.machine.wall, it.app.clock.now)
        return it

    def play(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        until = self.machine.wall + seconds
        while self.machine.wall < until - 1e-6:
            self.machine.advance(BEAT_SECONDS)
            t = self.machine.wall - T0
            self._reports(t)
            if t // FAULT_SECONDS != self.fault:
                self.fault = int(t // FAULT_SECONDS)
                self._wrong(self.fault)
            if t % 60 < BEAT_SECONDS:
                self.it.ask_price()
            assert self.it.app.gpus.sampler is not None
            self.it.app.gpus.sampler._sample()
            self.it.app.sampling_loop.tick()
            if self.start is None:
                assert self.it.app.snapshot is not None
                self.start = self.it.app.snapshot.t
            if t % SAVE_SECONDS < BEAT_SECONDS:
                self.it.save()

    def _reports(self, t: float) -> None:
        for number in range(RUNS):
            run = f"run-{number}"
            if t <= BEAT_SECONDS:
                self.machine.write_event("start", run=run, epochs=10_000, gpus=[str(number)])
                self.machine.write_event("phase", run=run, phase="train", epoch=0)
            self.machine.write_event("progress", run=run, step=int(t), epoch=t / 600)
            if t % 600 < BEAT_SECONDS:
                self.machine.write_event("epoch_end", run=run, epoch=int(t // 600))

    def _wrong(self, number: int) -> None:
        """Faults other than the driver's."""
        kind = number % 40
        if kind == 7:
            with (self.machine.events / "run-1.jsonl").open("a") as out:
                out.write('{"v":1,"ev":"progress","ts":"never"}\nnonsense\n')
        elif kind == 17 and self.kills:
            self.it.kill()
            self.it = self._agent()
        elif kind == 27:
            (self.machine.proc / "stat").write_text("cpu nonsense\n")

    @property
    def accounted(self) -> tuple[float, float]:
        """Seconds and dollars of the machine so far, settled and not."""
        snapshot = self.it.app.snapshot
        assert snapshot is not None
        return math.fsum(snapshot.node.totals.seconds.values()), math.fsum(snapshot.node.totals.cost_usd.values())

    def close(self) -> None:
        self.it.close()


def resident_bytes() -> int:
    """Resident memory of this process after a garbage collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
