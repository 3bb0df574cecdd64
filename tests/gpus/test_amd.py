"""AMD GPUs by a stand-in for the package amdsmi that replays recorded results (no AMD hardware was at hand)."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from epochcost.gpus.amd import VITAL, AmdSource
from epochcost.gpus.gpu_source import GpuError, NoDriverError

RECORDING = Path(__file__).parent / "recordings" / "amd_mi300x.json"
NOT_SUPPORTED, NO_PERMISSION, API_FAILED, NOT_INITIALIZED, DRIVER_NOT_LOADED, NO_DATA = 2, 10, 7, 32, 34, 40
FIGURE_OF = {
    "amdsmi_get_gpu_activity": "utilization_ratio",
    "amdsmi_get_gpu_memory_usage": "memory_used_bytes",
    "amdsmi_get_gpu_memory_total": "memory_total_bytes",
    "amdsmi_get_power_info": "power_watts",
    "amdsmi_get_energy_count": "energy_joules",
    "amdsmi_get_temp_metric": "temperature_celsius",
    "amdsmi_get_gpu_total_ecc_count": "ecc_errors",
}


class Kind(IntEnum):
    VRAM = 0
    HOTSPOT = 1
    CURRENT = 2
    INIT_AMD_GPUS = 3


class AmdSmi:
    """The package as far as it is used: recorded results by call and GPU, or errors that a test sets."""

    AmdSmiInitFlags = AmdSmiMemoryType = AmdSmiTemperatureType = AmdSmiTemperatureMetric = Kind

    class AmdSmiException(Exception):  # noqa: N818 - the package's name
        """The base of the package's errors."""

    class AmdSmiLibraryException(AmdSmiException):
        def __init__(self, code: int) -> None:
            super().__init__(f"Error code:\n\t{code} | AMDSMI_STATUS")
            self.err_code = code

    def __init__(self) -> None:
        recording = json.loads(RECORDING.read_text())
        self.gpus: list[dict[str, Any]] = recording["gpus"]
        self.driver = recording["driver"]
        self.errors: dict[tuple[str, int | None], int] = {}
        self.inits = self.shut_downs = 0

    def amdsmi_init(self, flag: Kind) -> None:
        assert flag is Kind.INIT_AMD_GPUS
        self.inits += 1
        self._fail("amdsmi_init", None)

    def amdsmi_shut_down(self) -> None:
        self.shut_downs += 1
        self._fail("amdsmi_shut_down", None)

    def amdsmi_get_processor_handles(self) -> list[int]:
        self._fail("amdsmi_get_processor_handles", None)
        return list(range(len(self.gpus)))

    def amdsmi_get_gpu_driver_info(self, handle: int) -> dict[str, str]:
        return self.driver

    def __getattr__(self, call: str) -> Any:
        if call.startswith("amdsmi_get_"):
            return lambda handle, *kinds: self._result_of(call, handle)
        raise AttributeError(call)

    def _result_of(self, call: str, handle: int) -> Any:
        self._fail(call, handle)
        return self.gpus[handle][call]

    def _fail(self, call: str, handle: int | None) -> None:
        code = self.errors.get((call, handle), self.errors.get((call, None)))
        if code is not None:
            raise self.AmdSmiLibraryException(code)


@pytest.fixture
def sdk() -> AmdSmi:
    return AmdSmi()


@pytest.fixture
def source(sdk: AmdSmi, tmp_path: Path) -> AmdSource:
    (tmp_path / "kfd").touch()
    return AmdSource(lambda: sdk, tmp_path / "kfd")


def test_an_mi300x_gives_all_figures_in_the_units_of_the_model(source: AmdSource):
    reading = source.read(5.0)
    busy, idle = reading.gpus
    assert (reading.t, reading.driver_version) == (5.0, "6.10.5")
    assert (busy.index, busy.model) == ("0", "AMD Instinct MI300X OAM")
    assert busy.uuid == "a1ff74a1-0000-1000-80ff-d4a6ebd00001"
    assert (busy.utilization_ratio, busy.power_watts, busy.temperature_celsius) == (0.93, 701, 68)
    assert (busy.memory_used_bytes, busy.memory_total_bytes) == (151_732_604_928, 206_141_652_992)
    assert busy.energy_joules == pytest.approx(76_543_210_987 * 15.259e-6)
    assert busy.ecc_errors == {"corrected": 2, "uncorrected": 0}
    assert (idle.utilization_ratio, idle.readable) == (0.0, True)


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, NO_DATA])
@pytest.mark.parametrize("call", FIGURE_OF)
def test_a_figure_that_is_not_supported_is_left_out_with_one_log_line_and_nothing_else(
    sdk: AmdSmi, source: AmdSource, call: str, code: int, caplog: pytest.LogCaptureFixture
):
    complete = source.read(0.0).gpus[0]
    sdk.errors[call, None] = code
    with caplog.at_level(logging.INFO):
        for second in (1.0, 2.0, 3.0):
            gpu = source.read(second).gpus[0]
    assert gpu.readable
    assert {name for name in FIGURE_OF.values() if getattr(gpu, name) != getattr(complete, name)} == {FIGURE_OF[call]}
    assert getattr(gpu, FIGURE_OF[call]) is None
    assert [r.getMessage().split(" ", 1)[0] for r in caplog.records] == [call]


def test_na_and_all_ones_are_not_figures(sdk: AmdSmi, source: AmdSource):
    sdk.gpus[0]["amdsmi_get_gpu_activity"]["gfx_activity"] = "N/A"
    sdk.gpus[0]["amdsmi_get_power_info"] = {"current_socket_power": 0xFFFF, "average_socket_power": 0xFFFFFFFF}
    sdk.gpus[0]["amdsmi_get_gpu_memory_usage"] = 0xFFFFFFFFFFFFFFFF
    sdk.gpus[1]["amdsmi_get_gpu_activity"]["gfx_activity"] = 117
    gpu, other = source.read(0.0).gpus
    assert (gpu.utilization_ratio, gpu.power_watts, gpu.memory_used_bytes) == (None, None, None)
    assert other.utilization_ratio is None


def test_the_fields_of_an_older_board_and_package_are_understood(sdk: AmdSmi, source: AmdSource):
    sdk.gpus[0]["amdsmi_get_power_info"] = {"current_socket_power": "N/A", "average_socket_power": 300}
    sdk.gpus[0]["amdsmi_get_energy_count"] = {"power": 1_000_000, "counter_resolution": 15.3}
    gpu = source.read(0.0).gpus[0]
    assert (gpu.power_watts, gpu.energy_joules) == (300, pytest.approx(15.3))


def test_one_gpu_that_fails_is_not_readable_and_the_other_is_read_normally(sdk: AmdSmi, source: AmdSource):
    sdk.errors["amdsmi_get_gpu_activity", 0] = API_FAILED
    failed_gpu, other = source.read(0.0).gpus
    assert (failed_gpu.readable, failed_gpu.utilization_ratio, failed_gpu.memory_total_bytes) == (False, None, None)
    assert (other.readable, other.utilization_ratio) == (True, 0.0)
    sdk.errors.clear()
    assert source.read(1.0).gpus[0].readable


def test_when_every_gpu_fails_the_library_is_reinitialised_after_ten_seconds(sdk: AmdSmi, source: AmdSource):
    sdk.errors["amdsmi_get_gpu_activity", None] = API_FAILED
    for second in (0.0, 1.0, 9.0):
        assert not any(gpu.readable for gpu in source.read(second).gpus)
    assert sdk.inits == 1
    sdk.errors.clear()
    source.read(10.0)
    assert (sdk.inits, sdk.shut_downs) == (2, 1)


def test_an_unloaded_driver_fails_the_reading_and_is_reinitialised(sdk: AmdSmi, source: AmdSource):
    source.read(0.0)
    sdk.errors["amdsmi_get_gpu_activity", None] = NOT_INITIALIZED
    with pytest.raises(GpuError, match="amdsmi_get_gpu_activity: Error code: 32"):
        source.read(1.0)
    sdk.errors.clear()
    assert len(source.read(2.0).gpus) == 2
    assert sdk.inits == 2


def test_gpus_that_disappear_do_not_leave_a_healthy_node_without_gpus(sdk: AmdSmi, source: AmdSource):
    source.read(0.0)
    source.close()
    sdk.gpus = []
    with pytest.raises(GpuError, match="AMD SMI reports no GPU") as error:
        source.read(1.0)
    assert not isinstance(error.value, NoDriverError)


@pytest.mark.parametrize(
    ("call", "code", "kind"),
    [("amdsmi_init", DRIVER_NOT_LOADED, NoDriverError), ("amdsmi_init", 42, GpuError),
     ("amdsmi_get_processor_handles", 42, GpuError)],
)  # fmt: skip
def test_a_failed_library_init_names_the_call(
    sdk: AmdSmi, source: AmdSource, call: str, code: int, kind: type[GpuError]
):
    sdk.errors[call, None] = code
    with pytest.raises(GpuError, match=f"{call}: Error code: {code}") as error:
        source.read(0.0)
    assert type(error.value) is kind


def test_a_gpu_without_a_name_or_uuid_is_identified_by_its_index(sdk: AmdSmi, source: AmdSource):
    for call in ("asic_info", "device_uuid", "device_bdf"):
        sdk.errors[f"amdsmi_get_gpu_{call}", None] = NOT_SUPPORTED
    assert [(g.uuid, g.model) for g in source.read(0.0).gpus] == [("unknown-0", ""), ("unknown-1", "")]


def test_without_the_kernel_driver_the_package_is_not_even_imported(tmp_path: Path):
    def imported() -> Any:
        raise AssertionError("imported")

    with pytest.raises(NoDriverError, match=r"no AMD GPU: .*kfd does not exist"):
        AmdSource(imported, tmp_path / "kfd").read(0.0)


def test_without_the_package_or_its_library_the_reason_is_given(tmp_path: Path):
    (tmp_path / "kfd").touch()
    with pytest.raises(NoDriverError, match=r"amdsmi is missing|libamd_smi.so of ROCm cannot be loaded"):
        AmdSource(kfd=tmp_path / "kfd").read(0.0)


def test_closing_twice_and_a_shut_down_that_fails_raise_nothing(sdk: AmdSmi, source: AmdSource):
    source.close()
    source.read(0.0)
    sdk.errors["amdsmi_shut_down", None] = API_FAILED
    source.close()
    source.close()
    assert sdk.shut_downs == 1


@pytest.mark.parametrize("code", [1, 4, 15, 31, 32, 34, 43, 54])
@pytest.mark.parametrize("call", [call for call in FIGURE_OF if call != VITAL])
def test_a_secondary_call_that_fails_leaves_out_its_figure_alone_whatever_its_code_of_amd(
    sdk: AmdSmi, source: AmdSource, call: str, code: int
):
    before = source.read(1.0)
    sdk.errors[call, None] = code
    for gpu, was in zip(source.read(2.0).gpus, before.gpus, strict=True):
        assert gpu == replace(was, **{FIGURE_OF[call]: None})  # type: ignore[arg-type]


def test_a_figure_that_no_amd_gpu_has_is_left_out(sdk: AmdSmi, source: AmdSource):
    sdk.gpus[0]["amdsmi_get_power_info"]["current_socket_power"] = 4294967
    sdk.gpus[0]["amdsmi_get_gpu_memory_usage"] = 1 << 55
    first, second = source.read(1.0).gpus[:2]
    assert (first.power_watts, first.memory_used_bytes) == (None, None)
    assert first.utilization_ratio is not None
    assert second.power_watts is not None
