"""Plausible values of GPU metrics, one check for all sources: fill values, garbage and errors are not values.

Each function gives the figure in the unit of the model, or raises `ImplausibleError`; `or_none` is for sources that
take many figures at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

MAX_POWER_WATTS = 10_000
MAX_MEMORY_BYTES = 1 << 44
MAX_ENERGY_JOULES = 1e13
MAX_ERRORS = (1 << 32) - 2
TEMPERATURES_CELSIUS = (-60, 200)
"""Several times what any GPU has. Beyond these a response is a filler (8, 16, 32 or 64 bits set) or a fault."""
MOST_BY_ROUNDING = 1.01
"""Counters of activity may lead a little above 1, but not further."""


class ImplausibleError(ValueError):
    """A source returned a figure that no GPU has; the text contains it."""


def percent(value: float) -> float:
    """Utilisation in whole percent, as a ratio."""
    if not 0 <= value <= 100:  # noqa: PLR2004 - NaN fails too
        raise ImplausibleError(f"{value} %")
    return value / 100


def activity(value: float) -> float:
    """A share that was computed from counters."""
    if not 0 <= value <= MOST_BY_ROUNDING:
        raise ImplausibleError(f"a share of {value}")
    return min(value, 1.0)


def power(watts: float) -> float:
    """Watts drawn."""
    if not 0 <= watts <= MAX_POWER_WATTS:
        raise ImplausibleError(f"{watts} W")
    return watts


def energy(joules: float) -> float:
    """Joules counted."""
    if not 0 <= joules <= MAX_ENERGY_JOULES:
        raise ImplausibleError(f"{joules} J")
    return joules


def temperature(celsius: float) -> float:
    """Degrees Celsius."""
    low, high = TEMPERATURES_CELSIUS
    if not low <= celsius <= high:
        raise ImplausibleError(f"{celsius} degrees Celsius")
    return float(celsius)


def memory(used: float, total: float) -> tuple[int, int]:
    """Bytes in use, and in all: neither is used if they do not fit together."""
    if not (0 < total <= MAX_MEMORY_BYTES and 0 <= used <= total):
        raise ImplausibleError(f"{used} of {total} bytes used")
    return int(used), int(total)


def some_memory(size: float) -> int:
    """Bytes, where nothing else is known of the memory."""
    if not 0 <= size <= MAX_MEMORY_BYTES:
        raise ImplausibleError(f"{size} bytes")
    return int(size)


def errors(count: float) -> int:
    """Memory errors."""
    if not (0 <= count <= MAX_ERRORS and math.isfinite(count)):
        raise ImplausibleError(f"{count} errors")
    return int(count)


def or_none(
    check: Callable[[float], float],
    value: float | None,
    about: str = "",
    complaints: MutableMapping[str, str] | None = None,
) -> float | None:
    """``check(value)``, None without a value, or for an impossible one, with its reason put into ``complaints``."""
    if value is None:
        return None
    try:
        return check(value)
    except ImplausibleError as err:
        if complaints is not None:
            complaints[about] = str(err)
        return None


_BY_FIELD: Mapping[str, Callable[[float], float]] = {
    "utilization_ratio": activity,
    "power_watts": power,
    "energy_joules": energy,
    "temperature_celsius": temperature,
    "memory_used_bytes": some_memory,
    "memory_total_bytes": some_memory,
}


def checked(values: Mapping[str, Any], complaints: MutableMapping[str, str]) -> dict[str, Any]:
    """Fields of a `GpuSample` without those that cannot be; ``complaints`` then has why, by field."""
    good = dict(values)
    for field, check in _BY_FIELD.items():
        if field in good:
            good[field] = or_none(check, good[field], field, complaints)
    used, total = good.get("memory_used_bytes"), good.get("memory_total_bytes")
    if used is not None and total is not None:
        try:
            memory(used, total)
        except ImplausibleError as err:
            complaints["memory_used_bytes"] = str(err)
            good["memory_used_bytes"] = good["memory_total_bytes"] = None
    return good
