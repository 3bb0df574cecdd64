"""GPUs by the exposition of a dcgm-exporter: files in its published format (no hardware), over a real HTTP server."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.agent_process import AgentProcess
from tests.waiting import wait_for

from epochcost.gpus import choose_source
from epochcost.gpus.dcgm.dcgm_rows import FIELDS, ExpositionError, parse_exposition
from epochcost.gpus.dcgm.dcgm_source import DcgmSource
from epochcost.gpus.gpu_source import GpuError

RECORDINGS = Path(__file__).parent / "recordings"
TWO = (RECORDINGS / "dcgm_h100_two.prom").read_text()
FIRST, SECOND = "GPU-58e8f5ea-0000-0000-0000-000000000000", "GPU-58e8f5ea-0000-0000-0000-000000000001"
MIB = 1 << 20


class Exporter:
    """The server's next response: a body, a code, a Content-Length beyond the body, or nothing at all."""

    def __init__(self) -> None:
        self.body = TWO
        self.code = 200
        self.missing = 0
        self.headers: dict[str, str] = {}
        self.requests = 0
        self.release = threading.Event()
        self.release.set()
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exporter.requests += 1
                exporter.release.wait(20)
                body = exporter.body.encode()
                head = {"Content-Length": str(len(body) + exporter.missing), **exporter.headers}
                lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                try:
                    self.wfile.write(f"HTTP/1.0 {exporter.code} x\r\n{lines}\r\n".encode() + body)
                except (BrokenPipeError, ConnectionResetError):
                    return  # the source did not wait

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = False, True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    yield exporter
    exporter.stop()


def test_a_dcgm_exporter_gives_all_figures_in_the_units_of_the_model(exporter: Exporter):
    reading = DcgmSource(exporter.url).read(7.0)
    assert (reading.t, reading.driver_version) == (7.0, "550.54.15")
    busy, idle = reading.gpus
    assert (busy.index, busy.uuid, busy.model) == ("0", FIRST, "NVIDIA H100 80GB HBM3")
    assert busy.utilization_ratio == 0.97
    assert (busy.memory_used_bytes, busy.memory_reserved_bytes) == (68112 * MIB, 997 * MIB)
    assert busy.memory_total_bytes == (12450 + 68112 + 997) * MIB
    assert (busy.power_watts, busy.temperature_celsius) == (612.4, 61)
    assert busy.energy_joules == pytest.approx(84_210_993.211)
    ratios = (busy.sm_active_ratio, busy.tensor_active_ratio, busy.dram_active_ratio)
    assert ratios == (0.871342, 0.412209, 0.533870)
    assert (idle.uuid, idle.utilization_ratio, idle.memory_used_bytes) == (SECOND, 0.0, 3 * MIB)


def test_both_spellings_of_the_host_name_mean_the_same():
    assert parse_exposition(TWO.replace("Hostname=", "hostname=")) == parse_exposition(TWO)


def test_blanks_are_dropped_and_a_gpu_with_nothing_else_is_not_readable():
    there, blank_gpu = parse_exposition((RECORDINGS / "dcgm_blanks.prom").read_text()).gpus
    assert (there.power_watts, there.energy_joules, there.sm_active_ratio) == (None, None, None)
    assert there.utilization_ratio == 0.962511, "without DCGM_FI_DEV_GPU_UTIL the engine's activity counts"
    assert there.readable
    assert not blank_gpu.readable
    assert (blank_gpu.utilization_ratio, blank_gpu.memory_used_bytes, blank_gpu.temperature_celsius) == (
        None,
        None,
        None,
    )


def test_mig_slices_are_devices_of_their_own_and_their_gpu_keeps_the_remainder():
    parent, big, small, unmeasured, other = parse_exposition((RECORDINGS / "dcgm_mig.prom").read_text()).gpus
    assert (parent.uuid, parent.mig, parent.utilization_ratio) == (FIRST, True, None)
    assert (parent.power_watts, parent.temperature_celsius) == (233.5, 45), "DCGM tells it in each slice's rows"
    assert parent.gpu_fraction == pytest.approx(2 / 7)
    assert (big.index, big.uuid, big.parent_uuid) == ("0:1", f"MIG-{FIRST}/1/0", FIRST)
    assert big.model == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert (big.utilization_ratio, big.gpu_fraction) == (0.901, pytest.approx(3 / 7))
    assert (big.power_watts, big.energy_joules) == (None, None)
    assert (small.index, small.utilization_ratio) == ("0:9", 0.0)
    assert unmeasured.utilization_ratio is None, "DCGM says 0 % for every slice, which is no measurement"
    assert (other.uuid, other.mig, other.gpu_fraction) == (SECOND, None, 1.0)
    assert sum(g.gpu_fraction for g in (parent, big, small, unmeasured, other)) == pytest.approx(2)


def sliced(model: str, *profiles: str) -> str:
    labels = 'gpu="0",UUID="GPU-a",modelName="{}",GPU_I_PROFILE="{}",GPU_I_ID="{}"'
    rows = (labels.format(model, profile, number) for number, profile in enumerate(profiles, 1))
    return "".join(f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{row}}} 0.5\n" for row in rows)


@pytest.mark.parametrize(
    ("model", "profiles", "parts"),
    [
        ("NVIDIA H100 80GB HBM3", ("3g.40gb", "2g.20gb", "1g.10gb"), [1 / 7, 3 / 7, 2 / 7, 1 / 7]),
        ("NVIDIA H200", ("7g.141gb",), [0, 1]),
        ("NVIDIA B200", ("1g.23gb", "2g.45gb"), [4 / 7, 1 / 7, 2 / 7]),
        ("NVIDIA GB200", ("4g.95gb",), [3 / 7, 4 / 7]),
        ("NVIDIA GH200 480GB", ("1g.12gb+me",), [6 / 7, 1 / 7]),
        ("NVIDIA A30", ("2g.12gb", "1g.6gb"), [1 / 4, 1 / 2, 1 / 4]),
        ("NVIDIA A100-SXM4-40GB", ("1c.3g.20gb", "1g.5gb"), [3 / 7, 3 / 7, 1 / 7]),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", ("1g.24gb", "2g.48gb"), [1 / 4, 1 / 4, 1 / 2]),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", ("4g.96gb",), [0, 1]),
        ("NVIDIA A100-SXM4-40GB", ("4g.20gb",) * 3, [0, 1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_a_slices_share_is_its_profiles_slices_of_its_gpus_total(
    model: str, profiles: tuple[str, ...], parts: list[float]
):
    gpus = parse_exposition(sliced(model, *profiles)).gpus
    assert [g.gpu_fraction for g in gpus] == pytest.approx(parts)
    assert gpus[0].mig


@pytest.mark.parametrize(
    ("model", "profiles"),
    [
        ("NVIDIA Q900 96GB", ("1g.12gb",)),  # not known yet
        ("NVIDIA RTX A3000", ("1g.6gb",)),
        ("NVIDIA H100 80GB HBM3", ("1g.10gb", "")),
        ("NVIDIA H100 80GB HBM3", ("<<<NULL>>>",)),
        ("NVIDIA A30", ("7g.80gb",)),
        ("", ("1g.10gb",)),
    ],
)
def test_slices_of_an_unknown_share_make_the_time_of_their_gpu_unknown(model: str, profiles: tuple[str, ...]):
    complaints: dict[str, str] = {}
    parent, *slices = parse_exposition(sliced(model, *profiles), complaints).gpus
    assert (parent.readable, parent.utilization_ratio, parent.mig, parent.gpu_fraction) == (True, None, None, 1.0)
    assert [(s.gpu_fraction, s.utilization_ratio) for s in slices] == [(0.0, 0.5)] * len(profiles)
    (complaint,) = complaints.values()
    assert "is unknown" in complaint


@pytest.mark.parametrize(
    ("model", "mebibytes", "part"),
    [
        ("NVIDIA H100 80GB HBM3", 10000, 1 / 7),
        ("NVIDIA H100 80GB HBM3", 81000, 1.0),
        ("NVIDIA H100 80GB HBM3", 20000, 0.0),  # 1g.20gb and 2g.20gb have as much
        ("NVIDIA A30 24GB", 12000, 1 / 2),
        ("NVIDIA GH200 480GB", 12000, 0.0),  # the name has the memory of its CPU
    ],
)
def test_the_share_of_a_slice_without_a_profile_follows_from_an_unambiguous_memory_size(
    model: str, mebibytes: int, part: float
):
    labels = f'gpu="0",UUID="GPU-a",modelName="{model}",GPU_I_PROFILE="<<<NULL>>>",GPU_I_ID="5"'
    text = f"DCGM_FI_DEV_FB_USED{{{labels}}} 0\nDCGM_FI_DEV_FB_FREE{{{labels}}} {mebibytes}\n"
    assert parse_exposition(text).gpus[1].gpu_fraction == pytest.approx(part)


def test_a_gpu_that_pods_share_is_one_gpu():
    row = 'DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="GPU-a",Hostname="n",pod="{}"}} 50\n'
    (gpu,) = parse_exposition(row.format("a") + row.format("b")).gpus
    assert gpu.utilization_ratio == 0.5


def test_a_gpu_missing_from_the_exposition_is_not_readable_until_it_returns(exporter: Exporter):
    source = DcgmSource(exporter.url)
    source.read(0.0)
    exporter.body = "".join(line for line in TWO.splitlines(keepends=True) if SECOND not in line)
    first, missing = source.read(1.0).gpus
    assert (first.uuid, first.readable) == (FIRST, True)
    assert (missing.uuid, missing.readable, missing.utilization_ratio, missing.memory_total_bytes) == (
        SECOND,
        False,
        None,
        None,
    )
    exporter.body = TWO
    assert [g.readable for g in source.read(2.0).gpus] == [True, True]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "the response contains no DCGM_FI_ metric of a GPU; is this a dcgm-exporter"),
        ("<html><body>Sign in</body></html>", "no DCGM_FI_ metric"),
        ("# HELP go_goroutines x\ngo_goroutines 7\n", "no DCGM_FI_ metric"),
        (TWO[: len(TWO) // 2], "ends in the middle of a line"),
        ('DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a"\n', "a line cannot be read: 'DCGM_FI_DEV_GPU_UTIL"),
        ('DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a"} lots\n', "a line cannot be read"),
        ("DCGM_FI_DEV_GPU_UTIL 12\n", "identifies its GPU by a label UUID"),
        (TWO + TWO.replace("sim-node", "other"), "metrics of 2 machines"),
        ((TWO + TWO.replace("sim-node", "other")).replace("Hostname=", "hostname="), "metrics of 2 machines"),
    ],
)
def test_a_response_that_is_not_an_exposition_of_this_node_is_rejected_with_a_reason(body: str, sentence: str):
    with pytest.raises(ExpositionError, match=sentence):
        parse_exposition(body)


@given(st.text())
def test_any_text_is_either_parsed_or_rejected(text: str):
    for body in (text, f"DCGM_FI_DEV_GPU_UTIL{text}\n", f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a"}} {text}\n'):
        try:
            assert parse_exposition(body).gpus
        except ExpositionError as err:
            assert str(err)  # noqa: PT017 - that it says something is all that is asked


ODD = [
    0,
    -1,
    1.000023,
    1.5,
    101,
    255,
    65535,
    2**31 - 1,
    2147483632,
    2**32 - 1,
    4294967.295,
    2**47,
    2**53,
    2**63,
    1e19,
    1e300,
]


@given(st.dictionaries(st.sampled_from(FIELDS), st.one_of(st.sampled_from(ODD), st.floats()), min_size=1))
def test_any_value_in_any_field_is_a_possible_figure_or_left_out(figures: dict[str, float]):
    rows = "".join(
        f'{name}{{gpu="0",UUID="GPU-a",modelName="NVIDIA H100"}} {value}\n' for name, value in figures.items()
    )
    (gpu,) = parse_exposition(rows).gpus
    ratios = (gpu.utilization_ratio, gpu.sm_active_ratio, gpu.tensor_active_ratio, gpu.dram_active_ratio)
    assert all(ratio is None or 0 <= ratio <= 1 for ratio in ratios)
    assert gpu.power_watts is None or 0 <= gpu.power_watts <= 10_000
    assert gpu.temperature_celsius is None or -60 <= gpu.temperature_celsius <= 200
    assert gpu.energy_joules is None or 0 <= gpu.energy_joules <= 1e13
    assert gpu.memory_total_bytes is None or 0 <= (gpu.memory_used_bytes or 0) <= gpu.memory_total_bytes <= 1 << 44
    assert all(0 <= count < 2**32 - 1 for count in (gpu.ecc_errors or {}).values())


@pytest.mark.parametrize(
    ("figures", "field"),
    [
        ({"POWER_USAGE": 4294967.295}, "power_watts"),
        ({"POWER_USAGE": -5}, "power_watts"),
        ({"POWER_USAGE": 65535}, "power_watts"),
        ({"GPU_TEMP": 255}, "temperature_celsius"),
        ({"ECC_SBE_VOL_TOTAL": 4294967295}, "ecc_errors"),
        ({"FB_USED": 16777217, "FB_TOTAL": 33554432}, "memory_total_bytes"),
        ({"GPU_TEMP": 4294967295}, "temperature_celsius"),
        ({"GPU_TEMP": -273.15}, "temperature_celsius"),
        ({"TOTAL_ENERGY_CONSUMPTION": 1e19 - 2e18}, "energy_joules"),
        ({"ECC_DBE_VOL_TOTAL": 1 << 60}, "ecc_errors"),
        ({"FB_USED": 4294967295, "FB_FREE": 100, "FB_TOTAL": 81559}, "memory_used_bytes"),
        ({"FB_USED": 90000, "FB_TOTAL": 81559}, "memory_used_bytes"),
        ({"FB_USED": 90000, "FB_TOTAL": 81559}, "memory_total_bytes"),
        ({"FB_USED": 0, "FB_FREE": 0}, "memory_total_bytes"),
        ({"FB_USED": 0, "FB_FREE": 0}, "memory_used_bytes"),
    ],
)
def test_a_dcgm_figure_that_no_gpu_has_is_left_out_and_logged_once(
    exporter: Exporter, caplog: pytest.LogCaptureFixture, figures: dict[str, float], field: str
):
    labels = '{gpu="0",UUID="GPU-a"}'
    rows = "".join(f"DCGM_FI_DEV_{name}{labels} {value}\n" for name, value in figures.items())
    source = DcgmSource(exporter.url)
    for util in (5, 6, 7):
        exporter.body = f"DCGM_FI_DEV_GPU_UTIL{labels} {util}\n{rows}"
        (gpu,) = source.read(float(util)).gpus
        assert (gpu.readable, gpu.utilization_ratio, getattr(gpu, field)) == (True, util / 100, None)
    assert len([r for r in caplog.records if "left out" in r.getMessage()]) == 1


def test_an_activity_rounded_above_one_is_one():
    (gpu,) = parse_exposition('DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-a"} 1.000023\n').gpus
    assert gpu.utilization_ratio == 1.0


def test_a_gpu_with_only_blanks_is_logged_when_it_is_lost_and_when_it_returns(
    exporter: Exporter, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "epochcost")
    row = 'DCGM_FI_DEV_GPU_UTIL{{gpu="{}",UUID="GPU-{}"}} {}\n'
    source = DcgmSource(exporter.url)
    for tick, value in enumerate((50, *(9223372036854775794,) * 5, 50, 50)):
        exporter.body = row.format(0, "a", value) + row.format(1, "b", tick)
        assert [g.readable for g in source.read(float(tick)).gpus] == [value == 50, True]
    assert [r.getMessage().split(" from ")[0] for r in caplog.records] == [
        "GPU 0 (GPU-a): no metrics",
        "GPU 0 (GPU-a): reported again",
    ]


@pytest.mark.parametrize("value", ["-1", "101", "NaN", "+Inf", "1e19", "2147483632", "9" * 700])
def test_an_impossible_figure_is_left_out(value: str):
    labels = '{gpu="0",UUID="GPU-a"}'
    text = f"DCGM_FI_DEV_GPU_UTIL{labels} {value}\nDCGM_FI_DEV_POWER_USAGE{labels} 70\n"
    (gpu,) = parse_exposition(text).gpus
    assert (gpu.utilization_ratio, gpu.power_watts, gpu.readable) == (None, 70, True)


def test_a_truncated_response_an_error_and_a_redirect_fail_only_one_reading(exporter: Exporter):
    source = DcgmSource(exporter.url)
    where = f"dcgm-exporter at {exporter.url.removeprefix('http://')}/metrics"
    exporter.missing = 40
    with pytest.raises(GpuError, match=f"{where}: the response was cut off"):
        source.read(0.0)
    exporter.missing, exporter.code = 0, 500
    with pytest.raises(GpuError, match=f"{where}: HTTP 500"):
        source.read(1.0)
    exporter.code, exporter.headers = 302, {"Location": f"{exporter.url}/elsewhere"}
    with pytest.raises(GpuError, match="HTTP 302"):
        source.read(2.0)
    assert exporter.requests == 3, "a redirect is not followed"
    exporter.code, exporter.headers = 200, {}
    assert len(source.read(3.0).gpus) == 2


def test_an_exporter_that_hangs_times_out(exporter: Exporter):
    exporter.release.clear()
    with pytest.raises(GpuError, match=r"timed out|was cut off"):
        DcgmSource(exporter.url, patience_seconds=0.2).read(0.0)


def test_an_unreachable_exporter_is_named_and_the_agent_keeps_polling():
    stopped_exporter = Exporter()
    stopped_exporter.stop()
    chosen = choose_source("dcgm", dcgm_url=f"http://user:secret@{stopped_exporter.url.removeprefix('http://')}")
    assert chosen.source is not None
    assert "does not respond yet" in chosen.reason
    assert "secret" not in chosen.reason


def test_the_configured_exporter_is_described_with_its_gpus(exporter: Exporter):
    chosen = choose_source("dcgm", dcgm_url=f"{exporter.url}/metrics")
    assert chosen.reason == "2 GPUs by dcgm, driver 550.54.15: NVIDIA H100 80GB HBM3"


def value(agent: AgentProcess, name: str, **labels: str) -> float | None:
    """The sample ``epochcost_{name}`` with these labels among its own; None if there is none."""
    for family in text_string_to_metric_families(agent.get("/metrics")[1]):
        for sample in family.samples:
            if sample.name == f"epochcost_{name}" and labels.items() <= sample.labels.items():
                return sample.value
    return None


def test_an_agent_meters_the_gpus_of_an_exporter_that_comes_late(exporter: Exporter, tmp_path: Path):
    exporter.code = 503
    flags = ("--gpus.source=dcgm", f"--dcgm.url={exporter.url}", "--node.metadata=off")
    agent = AgentProcess(tmp_path, *flags)
    try:
        wait_for(lambda: value(agent.up(), "collector_success", collector="gpus") == 0, what="a failed reading")
        assert "epochcost_gpu_utilization_ratio" not in agent.get("/metrics")[1]
        exporter.code = 200
        wait_for(lambda: value(agent, "gpu_utilization_ratio", uuid=FIRST) == 0.97, what="the exporter's figures")
        assert value(agent, "gpu_temperature_celsius", gpu="1", uuid=SECOND) == 34
        assert value(agent, "node_gpus") == 2
    finally:
        agent.end(signal.SIGKILL)


def test_more_gpus_than_any_machine_has_are_rejected_and_names_are_bounded() -> None:
    def rows(count: int, name: str = "GPU") -> str:
        return "".join(f'DCGM_FI_DEV_GPU_UTIL{{gpu="{n}",UUID="{name}-{n}",Hostname="h"}} 5\n' for n in range(count))

    assert len(parse_exposition(rows(1024)).gpus) == 1024
    with pytest.raises(ExpositionError, match="more than 1024 GPUs"):
        parse_exposition(rows(1025))
    (long,) = parse_exposition(rows(1, "G" * 5000)).gpus
    assert len(long.uuid) == 200
