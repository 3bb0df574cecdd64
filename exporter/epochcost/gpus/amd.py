"""AMD GPUs through AMD SMI, the library of ROCm, by its own package ``amdsmi``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epochcost.gpus.gpu_plausibility import checked
from epochcost.gpus.gpu_source import GpuError, NoDriverError
from epochcost.gpus.label import printable
from epochcost.model import GpuReading, GpuSample, is_number

log = logging.getLogger(__name__)

KFD = Path("/dev/kfd")
"""The kernel driver's door to computing; without it there is nothing to read, and the library is not even loaded."""
RETRY_SECONDS = 10.0
NOT_INITIALIZED, DRIVER_NOT_LOADED = 32, 34
NO_FIGURE = frozenset({2, 3, 10, 40})
"""Not supported, not yet implemented, no permission, no data: that figure is left out."""
ALL_ONES = frozenset({0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""The firmware's "not available", if the package has not turned it into ``N/A``."""


def _amdsmi() -> Any:  # noqa: ANN401 - amdsmi has no types
    try:
        import amdsmi
    except ImportError as err:
        raise NoDriverError(f"the Python package amdsmi is missing: pip install 'epochcost[amd]' ({err})") from err
    except (OSError, KeyError, AttributeError) as err:  # KeyError is how the package reports that it found no library
        raise NoDriverError(f"AMD's library libamd_smi.so of ROCm cannot be loaded here: {err!r}") from err
    return amdsmi


class AmdSource:
    """All GPUs of the amdgpu driver. Touches nothing before the first `read`; used by one thread at a time."""

    name = "amd"

    def __init__(self, sdk: Callable[[], Any] = _amdsmi, kfd: Path = KFD) -> None:
        self._load = sdk
        self._kfd = kfd
        self._sdk: Any = None
        self._gpus: list[tuple[Any, GpuSample]] = []
        self._version = ""
        self._reopen_at = math.inf
        self._left_out: set[str] = set()

    def read(self, t: float) -> GpuReading:
        """All GPUs now; see `GpuSource.read`."""
        if t >= self._reopen_at:
            self.close()
        if self._sdk is None:
            self._open()
        gpus = tuple(self._sample(handle, who) for handle, who in self._gpus)
        seen = any(gpu.readable for gpu in gpus)
        self._reopen_at = math.inf if seen else min(self._reopen_at, t + RETRY_SECONDS)
        return GpuReading(t, gpus, self._version)

    def close(self) -> None:
        """Close the driver; a later read opens it again."""
        sdk, self._sdk, self._reopen_at = self._sdk, None, math.inf
        if sdk is None:
            return
        try:
            sdk.amdsmi_shut_down()
        except sdk.AmdSmiException as err:
            log.info("AMD SMI could not be shut down: %s", _words(err))

    def _open(self) -> None:
        if not self._kfd.exists():
            raise NoDriverError(f"no AMD GPU: {self._kfd} does not exist")
        sdk = self._load()
        try:
            sdk.amdsmi_init(sdk.AmdSmiInitFlags.INIT_AMD_GPUS)
        except sdk.AmdSmiException as err:
            kind = NoDriverError if getattr(err, "err_code", None) == DRIVER_NOT_LOADED else GpuError
            raise kind(f"amdsmi_init: {_words(err)}") from err
        self._sdk = sdk
        try:
            handles = sdk.amdsmi_get_processor_handles()
        except sdk.AmdSmiException as err:
            self.close()
            raise GpuError(f"amdsmi_get_processor_handles: {_words(err)}") from err
        if not handles:
            self.close()
            raise (GpuError if self._gpus else NoDriverError)("AMD SMI reports no GPU")
        self._gpus = [(handle, self._identity(number, handle)) for number, handle in enumerate(handles)]
        info = self._called("amdsmi_get_gpu_driver_info", handles[0]) or {}
        self._version = _text(info.get("driver_version"))

    def _identity(self, number: int, handle: Any) -> GpuSample:  # noqa: ANN401 - the package's own handle
        asic = self._called("amdsmi_get_gpu_asic_info", handle) or {}
        uuid = self._called("amdsmi_get_gpu_device_uuid", handle) or self._called("amdsmi_get_gpu_device_bdf", handle)
        return GpuSample(str(number), _text(uuid) or f"unknown-{number}", _text(asic.get("market_name")))

    def _called(self, call: str, *arguments: Any) -> Any:  # noqa: ANN401 - each call has its own result
        """The result of a call about a GPU's identity; None if it has none."""
        try:
            return getattr(self._sdk, call)(*arguments)
        except (self._sdk.AmdSmiException, AttributeError) as err:
            self._leave_out(call, _words(err))
            return None

    def _sample(self, handle: Any, who: GpuSample) -> GpuSample:  # noqa: ANN401
        figures: dict[str, Any] = {}
        for call, read in FIGURES.items():
            try:
                figures.update(read(self._sdk, handle))
            except self._sdk.AmdSmiException as err:  # noqa: PERF203 - each figure may be missing for itself
                if call == VITAL and getattr(err, "err_code", None) not in NO_FIGURE:
                    return self._failed(who, call, err)
                self._leave_out(call, _words(err))
            except (AttributeError, KeyError, TypeError) as err:  # a version of the package that responds otherwise
                self._leave_out(call, repr(err))
        complaints: dict[str, str] = {}
        figures = checked(figures, complaints)
        for field, why in complaints.items():
            self._leave_out(f"{field} of GPU {who.index}", why)
        return GpuSample(who.index, who.uuid, who.model, **figures)

    def _failed(self, who: GpuSample, call: str, err: Exception) -> GpuSample:
        if getattr(err, "err_code", None) in (NOT_INITIALIZED, DRIVER_NOT_LOADED):
            self.close()
            raise GpuError(f"{call}: {_words(err)}") from err
        if f"{who.uuid} {call}" not in self._left_out:
            self._left_out.add(f"{who.uuid} {call}")
            log.warning("GPU %s (%s) cannot be read: %s: %s", who.index, who.uuid, call, _words(err))
        return GpuSample(who.index, who.uuid, who.model, readable=False)

    def _leave_out(self, call: str, why: str) -> None:
        if call not in self._left_out:
            self._left_out.add(call)
            log.info("%s is not available on this machine and is skipped: %s", call, why)


def _activity(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    percent = _number(sdk.amdsmi_get_gpu_activity(handle)["gfx_activity"], 100)
    return {"utilization_ratio": None if percent is None else percent / 100}


def _memory_used(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"memory_used_bytes": _whole(sdk.amdsmi_get_gpu_memory_usage(handle, sdk.AmdSmiMemoryType.VRAM))}


def _memory_total(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"memory_total_bytes": _whole(sdk.amdsmi_get_gpu_memory_total(handle, sdk.AmdSmiMemoryType.VRAM)) or None}


def _power(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    """MI300 reports the current power, older boards a mean: whichever is there."""
    answer = sdk.amdsmi_get_power_info(handle)
    powers = (_number(answer.get(name)) for name in ("current_socket_power", "average_socket_power"))
    return {"power_watts": next((watts for watts in powers if watts), None)}


def _energy(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = sdk.amdsmi_get_energy_count(handle)
    counted = _number(answer.get("energy_accumulator", answer.get("power")))
    microjoules = _number(answer.get("counter_resolution"))
    return {"energy_joules": counted * microjoules / 1e6 if counted and microjoules else None}


def _temperature(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    """Degrees, although the package's documentation says thousandths; of the hottest spot, which is what throttles."""
    current = sdk.AmdSmiTemperatureMetric.CURRENT
    degrees = _number(sdk.amdsmi_get_temp_metric(handle, sdk.AmdSmiTemperatureType.HOTSPOT, current), 1000)
    return {"temperature_celsius": degrees or None}


def _ecc(sdk: Any, handle: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = sdk.amdsmi_get_gpu_total_ecc_count(handle)
    counts = {
        kind: _whole(answer.get(name))
        for kind, name in (("corrected", "correctable_count"), ("uncorrected", "uncorrectable_count"))
    }
    return {"ecc_errors": {kind: count for kind, count in counts.items() if count is not None} or None}


FIGURES: Mapping[str, Callable[[Any, Any], dict[str, Any]]] = {
    "amdsmi_get_gpu_activity": _activity,
    "amdsmi_get_gpu_memory_usage": _memory_used,
    "amdsmi_get_gpu_memory_total": _memory_total,
    "amdsmi_get_power_info": _power,
    "amdsmi_get_energy_count": _energy,
    "amdsmi_get_temp_metric": _temperature,
    "amdsmi_get_gpu_total_ecc_count": _ecc,
}
"""What is read from each GPU at each reading, by driver call."""


VITAL = "amdsmi_get_gpu_activity"
"""A GPU for which it fails cannot be read; if any other call fails only its figure is left out."""


def _number(value: object, most: float = 1e18) -> float | None:
    """``value`` if it is a figure: the package may also return ``N/A``, the firmware all ones."""
    return value if is_number(value) and value not in ALL_ONES and 0 <= value <= most else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: object) -> str:
    return printable(value) if isinstance(value, str) and value != "N/A" else ""


def _words(err: Exception) -> str:
    return " ".join(str(err).split())
