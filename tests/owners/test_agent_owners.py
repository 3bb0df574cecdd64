"""GPU attribution through the real agent and the real pynvml on the tests' driver library."""

from __future__ import annotations

import os
import pwd
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.driven_agent import SimulatedMachine
from tests.fake_nvml import CONTROL_VARIABLE, NOT_SUPPORTED, UNKNOWN, FakeDriver, build
from tests.owners.kubelet import Kubelet
from tests.waiting import wait_for

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.app import AgentApp, Clocks
from epochcost.agent.collectors.owner import OWNER_LABELS
from epochcost.gpus.nvml.nvml_processes import NvmlProcesses
from epochcost.owners.processes import FIRST_PID_NAMESPACE
from epochcost.settings import SettingsError, load

ID = "f" * 64
ME = pwd.getpwuid(os.getuid()).pw_name
Labels = dict[str, str]


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(fake_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver(fake_library, tmp_path / "nvml.control", gpus=2)
    monkeypatch.setenv(CONTROL_VARIABLE, str(fake.control))
    fake.load()
    return fake


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedMachine:
    it = SimulatedMachine(tmp_path)
    (it.proc / "self/ns").mkdir(parents=True)
    (it.proc / "self/ns/pid").symlink_to(FIRST_PID_NAMESPACE)
    return it


@pytest.fixture
def agent(machine: SimulatedMachine, driver: FakeDriver) -> Iterator[Callable[..., AgentApp]]:
    apps: list[AgentApp] = []

    def make(**flags: str) -> AgentApp:
        options = {"web.listen-address": "127.0.0.1:0", "events.dir": str(machine.events), "gpus.source": "nvml"}
        options |= {"state.dir": str(machine.root / "state"), "owners.slurm-dir": str(machine.root / "slurm")}
        options |= {"owners.kubernetes-socket": str(machine.root / "k.sock"), "sample.interval": "100ms"}
        options |= {name.replace("__", ".").replace("_", "-"): value for name, value in flags.items()}
        apps.append(AgentApp(load(AgentSettings, "agent", options, {}), {}, Clocks(), machine.proc))
        apps[-1].start()
        return apps[-1]

    yield make
    for app in apps:
        app.stop()


def shares(app: AgentApp) -> list[tuple[Labels, float]]:
    return scraped(app, "epochcost_gpu_owner_share_ratio")


def scraped(app: AgentApp, name: str) -> list[tuple[Labels, float]]:
    with urllib.request.urlopen(f"{app.server.url}/metrics", timeout=5) as response:
        families = text_string_to_metric_families(response.read().decode())
        return [(s.labels, s.value) for family in families for s in family.samples if s.name == name]


def owners(app: AgentApp) -> dict[tuple[str, str, str], float]:
    if app.snapshot is None:
        return {}
    return {(labels["gpu"], labels["owner_kind"], labels["owner"]): share for labels, share in shares(app)}


def process(machine: SimulatedMachine, pid: int, cgroup: str) -> None:
    (machine.proc / str(pid)).mkdir()
    (machine.proc / str(pid) / "cgroup").write_text(cgroup)
    (machine.proc / str(pid) / "status").write_text(f"Uid:\t{os.getuid()}\t0\t0\t0\n")


def test_gpus_belong_to_the_processes_on_them(
    machine: SimulatedMachine, driver: FakeDriver, agent: Callable[..., AgentApp]
):
    process(machine, 10, f"0::/system.slice/docker-{ID}.scope")
    process(machine, 11, "0::/user.slice")
    driver.process(0, 10, 3 << 30)
    driver.process(0, 11, 1 << 30)
    driver.process(1, 11, 1 << 30)
    app = agent()
    wait_for(lambda: owners(app), what="owners")
    assert owners(app) == {
        ("0", "container", ID[:12]): 0.75,
        ("0", "user", ME): 0.25,
        ("1", "user", ME): 1.0,
    }
    for labels, value in scraped(app, "epochcost_gpu_owner_info"):
        assert value == 1
        assert set(labels) == {"epochcost_machine", *OWNER_LABELS}
        assert labels["owner_user"] == ME


def test_a_reporting_run_takes_precedence_and_gets_its_pod(
    machine: SimulatedMachine, driver: FakeDriver, agent: Callable[..., AgentApp]
):
    process(machine, 11, "0::/user.slice")
    driver.process(0, 11, 1 << 30)
    kubelet = Kubelet()
    uuids = list(NvmlProcesses().pids())
    kubelet.pods = [("char-lm-0", "team-a", {"main": {"nvidia.com/gpu": [uuids[0]]}})]
    with kubelet.serving(machine.root / "k.sock"):
        app = agent()
        wait_for(lambda: ("0", "kubernetes", "char-lm-0") in owners(app), what="the pod")
        app_time = app.clock.now()
        machine.wall = app_time
        machine.write_event("start", gpus=["0"])
        wait_for(lambda: ("0", "run", "r") in owners(app), what="the run")
        ((labels, share),) = shares(app)
        assert share == 1.0
        assert labels == {
            "epochcost_machine": app.machine.name, "gpu": "0", "uuid": uuids[0], "owner_kind": "run", "owner": "r",
            "owner_namespace": "team-a", "owner_container": "main", "owner_user": ME,
        }  # fmt: skip


def test_shares_are_never_labels_of_other_series(
    machine: SimulatedMachine, driver: FakeDriver, agent: Callable[..., AgentApp]
):
    process(machine, 11, "0::/user.slice")
    driver.process(0, 11, 1 << 30)
    app = agent()
    wait_for(lambda: owners(app), what="owners")
    with urllib.request.urlopen(f"{app.server.url}/metrics", timeout=5) as response:
        text = response.read().decode()
    having_an_owner = {line.partition("{")[0] for line in text.splitlines() if re.search(r'[{,]owner="', line)}
    assert having_an_owner == {"epochcost_gpu_owner_info", "epochcost_gpu_owner_share_ratio"}
    gpus = [line for line in text.splitlines() if line.startswith("epochcost_gpu_memory_used_bytes{")]
    assert len(gpus) == 2


def test_no_source_is_queried_when_none_is_configured(
    machine: SimulatedMachine, driver: FakeDriver, agent: Callable[..., AgentApp]
):
    app = agent(owners__sources="")
    wait_for(lambda: app.snapshot and app.snapshot.gpus, what="a snapshot with GPUs")
    assert app.owners.feeds == []
    assert shares(app) == []


def test_an_unknown_source_of_owners_is_rejected():
    with pytest.raises(
        SettingsError, match=r"--owners\.sources: 'run,argv' is not valid: 'argv' is not allowed; allowed: run"
    ):
        load(AgentSettings, "agent", {"owners.sources": "run,argv"}, {})


# -- the driver's list of processes ------------------------------------------------------------------------------------


def test_the_driver_lists_processes_by_gpu(driver: FakeDriver):
    driver.process(1, 4711, 1 << 30)
    driver.process(1, 4712, 2 << 30)
    first, second = NvmlProcesses().pids().values()
    assert (first, second) == ({}, {4711: 1 << 30, 4712: 2 << 30})


def test_a_gpu_whose_call_fails_is_left_out_and_logged_once(driver: FakeDriver, caplog: pytest.LogCaptureFixture):
    driver.process(1, 4711, 1 << 30)
    driver.error("GetComputeRunningProcesses", UNKNOWN, gpu=0)
    processes = NvmlProcesses()
    assert list(processes.pids().values()) == [{4711: 1 << 30}]
    processes.pids()
    assert caplog.text.count("the processes on GPU 0 are not known") == 1
    driver.heal()
    assert len(processes.pids()) == 2


def test_a_driver_without_process_lists_is_logged_and_not_an_error(driver: FakeDriver):
    driver.error("GetComputeRunningProcesses", NOT_SUPPORTED, gpu="*")
    assert NvmlProcesses().pids() == {}


def test_a_driver_that_is_not_loaded_is_an_error(driver: FakeDriver):
    driver.unload()
    with pytest.raises(OSError, match=r"nvmlInit: Driver Not Loaded"):
        NvmlProcesses().pids()
