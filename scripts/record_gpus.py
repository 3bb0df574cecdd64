"""Records what a real NVIDIA driver answers, for the tests: ``python -m scripts.record_gpus [DIRECTORY]``.

GPU 0 is recorded at rest, under load and with its memory filled (`scripts.gpu_load`), the others as they are. For each
of these phases ``NAME-PHASE.json`` holds every answer to every call that the agent makes, with its code and its
microseconds: `tests.fake_nvml.recorded` has the compiled driver of the tests give the same answers. ``NAME.jsonl``
holds what epochcost read meanwhile, one reading a second, to be played by `epochcost.gpus.replay`.

Needs a driver, Python and the package nvidia-ml-py, no network and no framework. UUIDs and process ids are replaced;
serial numbers are not asked. A recording of the tests' own driver says of itself that it is simulated.
"""

# ruff: noqa: ANN401 - pynvml has no types

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]

from epochcost.gpus.nvml.nvml_source import NvmlSource  # noqa: E402
from epochcost.gpus.replay import recorded  # noqa: E402
from epochcost.model import GpuReading  # noqa: E402

DIRECTORY = ROOT / "tests" / "gpus" / "recordings" / "nvml"
PHASES = ("idle", "load", "memory")
SETTLE_SECONDS = 20.0
"""At most so long until a load shows."""
BUSY_PERCENT = 50
FULL_PART = 0.5
GPM_SECONDS = 0.3
GPM_METRICS = {"gpm_graphics": 1, "gpm_sm": 2, "gpm_tensor": 5, "gpm_dram": 10}
Answer = dict[str, Any]
"""``value`` or ``code``, and ``us``."""


def answer_of(nvml: Any, question: Callable[[], object]) -> Answer:
    """One answer of the driver, whatever it is."""
    began = time.perf_counter()
    try:
        answer: Answer = {"value": question()}
    except nvml.NVMLError as err:
        answer = {"code": int(err.value)}
    return {**answer, "us": round((time.perf_counter() - began) * 1e6)}


def of_slice(nvml: Any, handle: Any) -> dict[str, Callable[[], object]]:
    """The questions that a slice answers, too."""
    return {
        "GetName": lambda: nvml.nvmlDeviceGetName(handle),
        "GetMemoryInfo_v2": lambda: memory(nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)),
        "GetMemoryInfo": lambda: memory(nvml.nvmlDeviceGetMemoryInfo(handle)),
        "GetComputeRunningProcesses": lambda: processes(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }


def of_gpu(nvml: Any, handle: Any) -> dict[str, Callable[[], object]]:
    """Every question that the agent asks about a GPU, by NVML's name without its ``nvmlDevice``."""
    core = nvml.NVML_TEMPERATURE_GPU
    return {
        **of_slice(nvml, handle),
        "GetUtilizationRates": lambda: utilization(nvml.nvmlDeviceGetUtilizationRates(handle)),
        "GetPowerUsage": lambda: nvml.nvmlDeviceGetPowerUsage(handle),
        "GetEnforcedPowerLimit": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle),
        "GetTotalEnergyConsumption": lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle),
        "GetTemperatureV": lambda: nvml.nvmlDeviceGetTemperatureV(handle, core),
        "GetTemperature": lambda: nvml.nvmlDeviceGetTemperature(handle, core),
        "GetCurrentClocksEventReasons": lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        "GetCurrentClocksThrottleReasons": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        "GetTotalEccErrors": lambda: [
            nvml.nvmlDeviceGetTotalEccErrors(handle, kind, nvml.NVML_VOLATILE_ECC)
            for kind in (nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
        ],
        "GetMigMode": lambda: nvml.nvmlDeviceGetMigMode(handle)[0],
        "GetMaxMigDeviceCount": lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle),
        "GpmQueryDeviceSupport": lambda: int(nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice),
        "GpmMetricsGet": lambda: activity(nvml, lambda sample: nvml.nvmlGpmSampleGet(handle, sample)),
    }


def memory(reading: Any) -> dict[str, int]:
    names = ("total", "used", "free", "reserved")
    return {name: int(getattr(reading, name)) for name in names if hasattr(reading, name)}


def utilization(reading: Any) -> dict[str, int]:
    return {"gpu": int(reading.gpu), "memory": int(reading.memory)}


def processes(listed: Any) -> list[list[int | None]]:
    """A number in place of each process id, and what the process holds."""
    return [[number, process.usedGpuMemory] for number, process in enumerate(listed, start=1)]


def activity(nvml: Any, take: Callable[[Any], object]) -> dict[str, float | None]:
    """The GPM metrics in percent over a short while; None for one that the hardware does not have."""
    before, now = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
    try:
        take(before)
        time.sleep(GPM_SECONDS)
        take(now)
        question = nvml.c_nvmlGpmMetricsGet_t()
        question.version, question.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, len(GPM_METRICS)
        question.sample1, question.sample2 = before, now
        for metric, number in zip(question.metrics, GPM_METRICS.values(), strict=False):
            metric.metricId = number
        nvml.nvmlGpmMetricsGet(question)
        answers = zip(GPM_METRICS, question.metrics, strict=False)
        return {name: None if metric.nvmlReturn else metric.value for name, metric in answers}
    finally:
        for sample in (before, now):
            nvml.nvmlGpmSampleFree(sample)


def answers(nvml: Any, questions: dict[str, Callable[[], object]]) -> dict[str, Answer]:
    """The answer to each question that this pynvml can ask."""
    known = {name: question for name, question in questions.items() if can_ask(nvml, name)}
    return {name: answer_of(nvml, question) for name, question in known.items()}


def can_ask(nvml: Any, name: str) -> bool:
    full = f"nvml{name}" if name.startswith("Gpm") else f"nvmlDevice{name}"
    return hasattr(nvml, full.removesuffix("_v2"))


def gpu_answers(nvml: Any, index: int) -> dict[str, Any]:
    """All answers about one GPU and its slices."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as err:
        return {"calls": {"GetHandleByIndex": {"code": int(err.value)}}, "slices": {}}
    calls = answers(nvml, of_gpu(nvml, handle))
    cut = calls.get("GetMigMode", {}).get("value") == 1
    most = calls.get("GetMaxMigDeviceCount", {}).get("value", 0) if cut else 0
    slices = {str(number): slice_answers(nvml, handle, number) for number in range(most)}
    return {"calls": calls, "slices": {number: one for number, one in slices.items() if one}}


def slice_answers(nvml: Any, gpu: Any, number: int) -> dict[str, Answer]:
    """All answers about one slice; empty if there is none of this number."""
    try:
        handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)
    except nvml.NVMLError:
        return {}
    return answers(
        nvml,
        {
            **of_slice(nvml, handle),
            "GetAttributes_v2": lambda: nvml.nvmlDeviceGetAttributes_v2(handle).computeInstanceSliceCount,
            "GetGpuInstanceId": lambda: nvml.nvmlDeviceGetGpuInstanceId(handle),
            "GpmMetricsGet": lambda: activity(
                nvml,
                lambda sample: nvml.nvmlGpmMigSampleGet(gpu, nvml.nvmlDeviceGetGpuInstanceId(handle), sample),
            ),
        },
    )


def driver_answers(phase: str) -> dict[str, Any]:
    """All that the driver answers now."""
    import pynvml

    pynvml.nvmlInit()
    try:
        gpus = [gpu_answers(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
        return {
            "phase": phase,
            "simulated": is_simulated(),
            "recorded": datetime.now(timezone.utc).date().isoformat(),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "gpus": gpus,
        }
    finally:
        pynvml.nvmlShutdown()


def is_simulated() -> bool:
    """Whether the driver that answers is the tests' own."""
    return hasattr(ctypes.CDLL("libnvidia-ml.so.1"), "fake_nvml_calls")


def readings(seconds: int, since: float) -> list[str]:
    """What epochcost reads, once a second, as lines of a recording."""
    source, lines = NvmlSource(), []
    for second in range(seconds):
        if second:
            time.sleep(1.0)
        lines.append(recorded(anonymous(source.read(time.monotonic() - since))))
    source.close()
    return lines


def anonymous(reading: GpuReading) -> GpuReading:
    """``reading`` with UUIDs that only count."""
    names = {gpu.uuid: made_up(gpu.index) for gpu in reading.gpus}
    gpus = [replace(g, uuid=names[g.uuid], parent_uuid=names.get(g.parent_uuid, "")) for g in reading.gpus]
    return replace(reading, gpus=tuple(gpus))


def made_up(index: str) -> str:
    gpu, _, number = index.partition(":")
    return f"MIG-00000000-0000-0000-{gpu:0>4}-{number:0>12}" if number else f"GPU-00000000-0000-0000-0000-{gpu:0>12}"


@contextlib.contextmanager
def under(phase: str) -> Iterator[None]:
    """GPU 0 in this phase."""
    if phase == "idle":
        yield
        return
    command = [sys.executable, "-m", "scripts.gpu_load", phase, "--seconds", "120"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) as program:
        try:
            if not shows(phase, program):
                sys.exit(f"the phase {phase} does not show on GPU 0")
            yield
        finally:
            program.terminate()


def shows(phase: str, program: subprocess.Popen[bytes]) -> bool:
    """Wait until the driver tells of the phase."""
    end = time.monotonic() + SETTLE_SECONDS
    while program.poll() is None and time.monotonic() < end:
        calls = driver_answers(phase)["gpus"][0]["calls"]
        busy = calls["GetUtilizationRates"].get("value", {"gpu": 100})["gpu"] >= BUSY_PERCENT
        held = calls["GetMemoryInfo"].get("value", {"used": 1, "total": 1})
        if busy if phase == "load" else held["used"] >= FULL_PART * held["total"]:
            return True
        time.sleep(GPM_SECONDS)
    return False


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    parser.add_argument("--phases", default=",".join(PHASES), help=f"some of {', '.join(PHASES)}")
    parser.add_argument("--seconds", type=int, default=5, help="readings of each phase")
    args = parser.parse_args(arguments)
    args.directory.mkdir(parents=True, exist_ok=True)
    began, lines, name = time.monotonic(), [], ""
    for phase in args.phases.split(","):
        with under(phase):
            record = driver_answers(phase)
            lines += readings(args.seconds, began)
        name = name or called(record)
        (args.directory / f"{name}-{phase}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"{name}-{phase}.json: {len(record['gpus'])} GPUs, driver {record['driver']}")
    (args.directory / f"{name}.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    print(f"{name}.jsonl: {len(lines)} readings")
    return 0


def called(record: dict[str, Any]) -> str:
    """A name for files, by the model of the first GPU and how many there are."""
    model = str(record["gpus"][0]["calls"].get("GetName", {}).get("value", "gpu"))
    simulated = "simulated-" if record["simulated"] else ""
    return f"{simulated}{len(record['gpus'])}x-" + re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
