"""Replays a real driver by the fake one: a recording of `scripts.record_gpus` as a control file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ONE_FIGURE = {
    "GetName": "name",
    "GetPowerUsage": "power_mw",
    "GetEnforcedPowerLimit": "power_limit_mw",
    "GetTotalEnergyConsumption": "energy_mj",
    "GetTemperature": "temperature",
    "GetTemperatureV": "temperature",
    "GetCurrentClocksThrottleReasons": "throttle",
    "GetCurrentClocksEventReasons": "throttle",
    "GetMigMode": "mig",
    "GetMaxMigDeviceCount": "mig_max",
    "GetAttributes_v2": "slices",
    "GpmQueryDeviceSupport": "gpm",
}
"""Calls whose answer is one figure of the control file."""


def control_lines(recording: Mapping[str, Any]) -> list[str]:
    """The instructions by which the fake driver returns the recorded results, fractions of a percent apart."""
    lines = [f"count {len(recording['gpus'])}", f"driver {recording['driver']}"]
    for index, gpu in enumerate(recording["gpus"]):
        for call, result in {**gpu["calls"], **_old_memory(gpu["calls"])}.items():
            lines += _gpu_lines(f"gpu {index}", call, result)
        for number, calls in gpu["slices"].items():
            about = f"gpu {index} slice {number}"
            lines += [f"{about} slices 1", *_slice_lines(about, calls)]
    return lines


def _old_memory(calls: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """The old call's result where there was no new one: the fake driver sums up used and reserved memory in it."""
    old = calls.get("GetMemoryInfo", {}).get("value")
    if old is None or "value" in calls.get("GetMemoryInfo_v2", {}):
        return {}
    return {"memory": {"value": {"total": old["total"], "used": old["used"], "reserved": 0}}}


def _gpu_lines(about: str, call: str, result: Mapping[str, Any]) -> Iterator[str]:
    if "code" in result:
        # The samples are taken for each GPU; what is made of them is no one GPU's call.
        yield f"{about} error {'GpmSampleGet' if call == 'GpmMetricsGet' else call} {result['code']}"
    elif call == "GetComputeRunningProcesses":
        yield from (f"{about} process {pid} {used_bytes or 0}" for pid, used_bytes in result["value"])
    else:
        yield from (f"{about} {name} {value}" for name, value in _figures(call, result["value"]))


def _slice_lines(about: str, calls: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for call, result in calls.items():
        if (
            "value" in result
        ):  # an error of a single slice is left out: the fake driver has errors for an entire GPU only
            yield from (f"{about} {name} {value}" for name, value in _figures(call, result["value"]))


def _figures(call: str, value: Any) -> Iterator[tuple[str, object]]:
    if call in ONE_FIGURE:
        yield ONE_FIGURE[call], value
    elif call == "GetUtilizationRates":
        yield from (("util", value["gpu"]), ("memory_util", value["memory"]))
    elif call in ("GetMemoryInfo_v2", "memory"):
        yield from ((f"memory_{name}", value[name]) for name in ("total", "used", "reserved"))
    elif call == "GetTotalEccErrors":
        yield from zip(("ecc_corrected", "ecc_uncorrected"), value, strict=True)
    elif call == "GpmMetricsGet":
        yield from ((name, "none" if percent is None else round(percent)) for name, percent in value.items())
