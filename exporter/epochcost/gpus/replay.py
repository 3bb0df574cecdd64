"""Recorded readings played again: what tests and the demo have in place of GPUs.

A recording is one JSON object a line, in order of ``t`` (seconds): a reading, or the error that reading met instead::

    {"t": 0, "driver_version": "550.54.15", "gpus": [{"index": "0", "uuid": "GPU-a", "utilization_ratio": 0.87}]}
    {"t": 12, "error": "nvmlDeviceGetCount: Unknown Error (NVML code 999)"}

Keys of a GPU are the fields of `GpuSample`; one that is left out is not known.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from epochcost.gpus.gpu_source import GpuError
from epochcost.model import GpuReading, GpuSample, is_number

TEXT_FIELDS = ("index", "uuid", "model", "parent_uuid", "stuck_call")
YES_OR_NO_FIELDS = ("readable", "mig", "power_active")
PLACE_FIELDS = ("gpu_instance", "instance_profile", "instance_start")
INTEGER_FIELDS = ("memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes", *PLACE_FIELDS)
COUNT_FIELDS = ("throttle_seconds", "ecc_errors", "xid_errors")
"""Objects: a number by name."""
MAX_FIGURE = 1e18
RATIOS = ("utilization_ratio", "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "gpu_fraction")
LIMITS = {"temperature_celsius": (-300.0, 1000.0), **dict.fromkeys(RATIOS, (0.0, 1.0))}
GPU_FIELDS = tuple(f.name for f in fields(GpuSample))


class RecordingError(ValueError):
    """A recording cannot be played; the text names the file, the line and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Moment:
    """From ``t`` (seconds, the recording's own time) on, the GPUs read so, or failed with ``error``."""

    t: float
    reading: GpuReading | None = None
    error: str = ""


class ReplaySource:
    """Plays a recording by the clock of its reader: each moment holds until the next, the last one for good.

    The first moment is that of the first `read`, or ``start`` (node timeline) if set; with ``repeat_after``
    seconds the recording begins again.
    """

    name = "replay"

    def __init__(
        self, recording: Sequence[Moment | GpuReading], start: float | None = None, repeat_after: float | None = None
    ) -> None:
        self._moments = [_moment(item) for item in recording]
        if not self._moments:
            raise RecordingError("a recording needs at least one reading")
        self._times = [moment.t - self._moments[0].t for moment in self._moments]
        if any(not a < b for a, b in zip(self._times, self._times[1:], strict=False)):
            raise RecordingError("the times of a recording must ascend")
        if repeat_after is not None and not repeat_after > self._times[-1]:
            raise RecordingError(f"repeat_after must be above the recording's {self._times[-1]:g} s")
        self._start = start
        self._repeat_after = repeat_after

    @classmethod
    def from_file(cls, path: Path, start: float | None = None, repeat_after: float | None = None) -> ReplaySource:
        """Play the recording in ``path``.

        Raises:
            RecordingError: naming the file, the line and what is wrong there.
        """
        try:
            with path.open(encoding="utf-8") as lines:
                return cls(parse_recording(lines, str(path)), start, repeat_after)
        except (OSError, UnicodeDecodeError) as err:
            raise RecordingError(f"{path}: {err}") from err

    def read(self, t: float) -> GpuReading:
        """The recorded reading that holds at ``t``, stamped ``t``; see `GpuSource.read`."""
        if self._start is None:
            self._start = t
        elapsed = t - self._start
        if self._repeat_after is not None:
            elapsed %= self._repeat_after
        at = bisect.bisect_right(self._times, elapsed) - 1
        if at < 0:
            raise GpuError(f"the recording begins {-elapsed:g} s from now")
        moment = self._moments[at]
        if moment.reading is None:
            raise GpuError(moment.error)
        return replace(moment.reading, t=t)

    def close(self) -> None:
        """Nothing is held."""


def recorded(reading: GpuReading) -> str:
    """``reading`` as one line of a recording, without the newline; what is not known is left out."""
    gpus = [{key: value for key, value in asdict(gpu).items() if value is not None} for gpu in reading.gpus]
    return json.dumps({"t": reading.t, "driver_version": reading.driver_version, "gpus": gpus})


def parse_recording(lines: Iterable[str], where: str) -> list[Moment]:
    """The moments of a recording; blank lines are skipped.

    Raises:
        RecordingError: naming ``where``, the line and what is wrong there.
    """
    moments = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            moments.append(_parse_line(line, f"{where}:{number}"))
    return moments


def _parse_line(line: str, where: str) -> Moment:
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise RecordingError("expected a JSON object")
        t = _number(entry.get("t"), "t")
        if "error" in entry:
            return Moment(t, error=_text(entry["error"], "error"))
        if not isinstance(entry.get("gpus"), list):
            raise RecordingError("expected gpus, a list")
        gpus = tuple(_parse_gpu(gpu) for gpu in entry["gpus"])
        return Moment(t, GpuReading(t, gpus, _text(entry.get("driver_version", ""), "driver_version")))
    except (ValueError, RecursionError) as err:
        raise RecordingError(f"{where}: {err}") from err


def _parse_gpu(entry: object) -> GpuSample:
    if not isinstance(entry, dict) or not {"index", "uuid"} <= entry.keys():
        raise RecordingError("expected each GPU as an object with index and uuid")
    if unknown := sorted(set(entry) - set(GPU_FIELDS)):
        raise RecordingError(f"unknown key {unknown[0]!r} of a GPU; allowed: {', '.join(GPU_FIELDS)}")
    return GpuSample(**{key: _value(key, value) for key, value in entry.items() if value is not None})


def _value(key: str, value: object) -> Any:  # noqa: ANN401 - the type depends on the field
    if key in TEXT_FIELDS:
        return _text(value, key)
    if key in YES_OR_NO_FIELDS:
        if not isinstance(value, bool):
            raise RecordingError(f"expected {key} as true or false, found {value!r:.80}")
        return value
    if key in COUNT_FIELDS:
        if not isinstance(value, dict):
            raise RecordingError(f"expected {key} as an object, found {value!r:.80}")
        return {name: _number(count, f"{key}.{name}", 0.0, MAX_FIGURE) for name, count in value.items()}
    low, high = LIMITS.get(key, (0.0, MAX_FIGURE))
    number = _number(value, key, low, high)
    return int(number) if key in INTEGER_FIELDS else number


def _number(value: object, what: str, low: float = -MAX_FIGURE, high: float = MAX_FIGURE) -> float:
    if not is_number(value) or not low <= value <= high:
        raise RecordingError(f"expected {what} as a number from {low:g} to {high:g}, found {value!r:.80}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise RecordingError(f"expected {what} as text, found {value!r:.80}")
    return value


def _moment(item: Moment | GpuReading) -> Moment:
    return Moment(item.t, item) if isinstance(item, GpuReading) else item
