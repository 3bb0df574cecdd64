"""The numbers that a program logs, such as its loss, kept until the next line is written."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from epochcost.training.switches import metrics_allowed
from epochcost.training.warning import shown, warn_once

MAX_NAMES = 8
"""Maximum for one run; the agent keeps no more."""
MAX_NAME = 60
READ_EVERY_SECONDS = 1.0
"""A number on a device: reading it waits for all that the device still has to do."""
POSITIONS = frozenset({"epoch", "step", "steps", "global_step", "samples", "tokens"})
"""The position of the training is reported by its loops, or by ``report``; it is not a metric."""

_monotonic = time.monotonic


class _UnreadableError(Exception):
    """Reading the number would affect the training; not even its text may be read."""


class ReportedValues:
    """The newest value of each name. Not for several threads at once: its run holds a lock."""

    __slots__ = ("_allowed", "_changed", "_keys", "_read_at", "_values")

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._keys: dict[str, str] = {}
        self._read_at: dict[str, float] = {}
        self._changed = False
        self._allowed = metrics_allowed()

    def take(self, logged: Mapping[str, Any]) -> None:
        """Keep what is logged."""
        values = self._values
        for name, value in logged.items():
            if type(value) is float and name in values and value - value == 0.0:  # the hot path: finite, and known
                values[name] = value
                self._changed = True
            else:
                self._convert(name, value)

    def fragment(self, *, complete: bool) -> str:
        """A key of a JSON object, led by a comma; empty if there is nothing, or nothing new."""
        if not self._keys or not (self._changed or complete):
            return ""
        self._changed = False
        # A name whose value is no longer a number is retracted: otherwise its last number would still be shown.
        pairs = ",".join(f"{key}:{self._text(name)}" for name, key in self._keys.items())
        return f',"metrics":{{{pairs}}}'

    def clear(self) -> None:
        """What is logged next belongs to another attempt."""
        self._values, self._keys, self._read_at, self._changed = {}, {}, {}, False

    def _text(self, name: str) -> str:
        return repr(self._values[name]) if name in self._values else "null"

    def _convert(self, name: object, value: object) -> None:
        name = str(name)[:MAX_NAME]
        if not self._allowed or not name or name in POSITIONS or not self._has_slot(name):
            return
        try:
            if _on_a_device(value) and self._was_read(name):
                return
            number = _number(value)
        except _UnreadableError as err:
            warn_once(f"metric {name}", f"{name} is not reported: {err}")
            return
        except Exception as err:  # noqa: BLE001 - whatever the user's object raises
            warn_once(f"metric {name}", f"{name}={shown(value)} is not a number ({type(err).__name__}); not reported")
            return
        self._changed = True
        if math.isfinite(number):
            self._keys.setdefault(name, json.dumps(name))
            self._values[name] = number
        else:
            self._values.pop(name, None)

    def _has_slot(self, name: str) -> bool:
        if name in self._keys or len(self._keys) < MAX_NAMES:
            return True
        warn_once("metrics", f"only the first {MAX_NAMES} names that this run logs are reported: not {shown(name)}")
        return False

    def _was_read(self, name: str) -> bool:
        now = _monotonic()
        if now - self._read_at.get(name, -math.inf) < READ_EVERY_SECONDS:
            return True
        self._read_at[name] = now
        return False


def _number(value: Any) -> float:  # noqa: ANN401 - a tensor, an array of one element, a scalar of NumPy's
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(f"{type(value).__name__} is not a number")
    detach = getattr(value, "detach", None)
    value = detach() if callable(detach) else value
    item = getattr(value, "item", None)
    return float(item() if callable(item) else value)


def _on_a_device(value: object) -> bool:
    """Whether reading ``value`` would wait for a device.

    Raises:
        _UnreadableError: it must not be read here, or not now.
    """
    if hasattr(value, "device_mesh"):  # torch's DTensor: all its processes would have to read it together
        raise _UnreadableError("it is spread over several processes; log loss.full_tensor() instead")
    device = str(getattr(value, "device", None) or "cpu").lower()
    if "xla" in device or "lazy" in device or "meta" in device:
        raise _UnreadableError("reading it would run the lazy computation that it belongs to; log loss.item() instead")
    if "cuda" in device:
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is not None and cuda.is_current_stream_capturing():
            raise _UnreadableError("a CUDA graph is being captured")
    return "cpu" not in device
