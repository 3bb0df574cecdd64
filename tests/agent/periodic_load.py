"""An hour of a load that comes and goes, sampled by the agent once a second and scraped less often.

The clock is driven; the driver is the tests' own, set every second to the value that NVML would return: the share of
the last full second in which a kernel ran, in whole percent. (NVML's own window is a second or less, depending on the
product.) The agent's sampling has another phase than the driver's, and jitters.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.fake_nvml import FakeDriver

from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.ledger import Ledger
from epochcost.model import Node

HOUR = 3600
START = 1_700_000_000.0
DUTY = 0.5
SCRAPES = (15, 30, 60)
"""Seconds between two scrapes."""


@dataclass(frozen=True)
class MeanUtilization:
    """Mean utilisation over an hour of scrapes, as a ratio: the true one, by the counter, by the gauge."""

    period_seconds: float
    scrape_seconds: int
    true: float
    counter: float
    gauge: float

    @property
    def counter_error_points(self) -> float:
        return 100 * (self.counter - self.true)

    @property
    def gauge_error_points(self) -> float:
        return 100 * (self.gauge - self.true)


def busy_seconds(t: float, period: float) -> float:
    """Seconds from 0 to ``t`` in which the load ran: the first half of every period."""
    periods, rest = divmod(t, period)
    return periods * period * DUTY + min(rest, period * DUTY)


def an_hour(driver: FakeDriver, period: float) -> list[MeanUtilization]:
    """One GPU under a load of ``period`` seconds, seen by each interval of scrapes."""
    driver.count(1)
    looked = {second for every in SCRAPES for second in scraped_at(every)}
    source, meter = NvmlSource(), Meter(Ledger(), Node("n"))
    counter, gauge = dict[int, float](), dict[int, float]()
    reported_percent, jitter = None, random.Random(period)
    for second in range(HOUR + 1):
        percent = round(100 * (busy_seconds(second, period) - busy_seconds(max(0, second - 1), period)))
        if percent != reported_percent:
            driver.gpu(0, util=percent)
            reported_percent = percent
        now = START + second + jitter.uniform(0.3, 0.4)
        inputs = Inputs(gpus=source.read(now))
        meter.account(now, inputs)
        if second in looked:
            (gpu,) = meter.describe(now, inputs).gpus or (None,)
            counter[second] = (gpu.utilization_seconds or 0.0) if gpu else 0.0
            gauge[second] = percent / 100
    source.close()
    return [_means(period, every, counter, gauge) for every in SCRAPES]


def scraped_at(every: int) -> range:
    """Seconds at which a Prometheus scrapes each ``every`` seconds: at an offset of the target's own."""
    return range(every // 2, HOUR + 1, every)


def _means(period: float, every: int, counter: Mapping[int, float], gauge: Mapping[int, float]) -> MeanUtilization:
    at = scraped_at(every)
    first, last = at[0], at[-1]
    true = (busy_seconds(last, period) - busy_seconds(first, period)) / (last - first)
    gauge_samples = [gauge[second] for second in at]
    return MeanUtilization(
        period,
        every,
        true,
        (counter[last] - counter[first]) / (last - first),
        math.fsum(gauge_samples) / len(gauge_samples),
    )
