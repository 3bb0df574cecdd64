"""Activity of a GPU or of a MIG slice by NVML's GPM counters, which Hopper and later have."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from epochcost.gpus.gpu_plausibility import activity, or_none
from epochcost.gpus.nvml.nvml_figures import INVALID_ARGUMENT, Figure, Values

log = logging.getLogger(__name__)

LEAST_SECONDS = 0.1
"""The driver returns nothing useful for samples closer together."""

Take = Callable[[Any], object]
"""Reads the counters of one device into the buffer."""


class Gpm:
    """The counters of one device: each request returns the means since the one before.

    ``take_slice`` is given for a MIG slice, and reads the counters of that slice. Its utilisation then is the share of
    time in which any program ran on the slice, which a slice has no other call for.
    """

    def __init__(self, nvml: Any, gpu: Any, take_slice: Take | None = None) -> None:  # noqa: ANN401
        """``gpu`` is the handle of the whole GPU."""
        self._nvml = nvml
        self._gpu = gpu
        self._take: Take = take_slice or (lambda buffer: nvml.nvmlGpmSampleGet(gpu, buffer))
        self._fields = {
            nvml.NVML_GPM_METRIC_SM_UTIL: "sm_active_ratio",
            nvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: "tensor_active_ratio",
            nvml.NVML_GPM_METRIC_DRAM_BW_UTIL: "dram_active_ratio",
        }
        if take_slice is not None:
            self._fields[nvml.NVML_GPM_METRIC_GRAPHICS_UTIL] = "utilization_ratio"
        self._buffers: list[Any] = []
        self._taken_t = -math.inf
        self._question: Any = None

    def figure(self) -> Figure:
        """Read with the others; refused by a GPU without these counters."""
        call = "nvmlGpmSampleGet"
        return Figure("activity of SMs, tensor cores and memory", call, lambda _, t: self._ask(t), level=logging.INFO)

    def free(self) -> None:
        """Give the buffers back to the driver. Never raises."""
        for buffer in self._buffers:
            try:
                self._nvml.nvmlGpmSampleFree(buffer)
            except self._nvml.NVMLError as err:  # noqa: PERF203 - two buffers
                log.debug("nvmlGpmSampleFree: %s", err)  # a driver that went away took them with it
        self._buffers = []

    def _ask(self, t: float) -> Values:
        if not self._buffers:
            self._prepare()
        elapsed = t - self._taken_t
        if 0 <= elapsed < LEAST_SECONDS:
            return {}
        before, now = self._buffers
        try:
            self._take(now)
            self._buffers, first = [now, before], math.isinf(self._taken_t)
            self._taken_t = t
            return {} if first else self._between(before, now)
        except self._nvml.NVMLError as err:
            if err.value != INVALID_ARGUMENT:
                raise
            log.debug("no activity in this reading: %s", err)  # perhaps the GPU was partitioned anew
            self.free()
            return {}

    def _prepare(self) -> None:
        nvml = self._nvml
        if not nvml.nvmlGpmQueryDeviceSupport(self._gpu).isSupportedDevice:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        first = nvml.nvmlGpmSampleAlloc()
        self._buffers = [first, nvml.nvmlGpmSampleAlloc()]
        self._taken_t = -math.inf
        question = nvml.c_nvmlGpmMetricsGet_t()
        question.version = nvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(self._fields)
        self._answers = question.metrics
        for answer, metric in zip(self._answers, self._fields, strict=False):
            answer.metricId = metric
        self._question = question

    def _between(self, before: Any, now: Any) -> Values:  # noqa: ANN401
        self._question.sample1, self._question.sample2 = before, now
        self._nvml.nvmlGpmMetricsGet(self._question)
        values: Values = {}
        for answer, field in zip(self._answers, self._fields.values(), strict=False):
            share = or_none(activity, answer.value / 100) if answer.nvmlReturn == 0 else None
            if share is not None:
                values[field] = share
        return values
