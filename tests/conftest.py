"""How the tests are spread over processes: what shares an expensive fixture stays in one, the longest begin first."""

from __future__ import annotations

import gc
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing
hypothesis.settings.load_profile("any machine")
gc.disable()  # until everything is collected: nothing of that is garbage, and looking for it took half of the time
TESTS = Path(__file__).parent
BUILT_ONCE = ("demo", "report")
"""Folders whose files share a fixture that takes long to build: each is one group. Elsewhere a file is one."""
ALONE = ("demo/test_demo_program.py",)
"""Files in them that use nothing of it."""
BY_TEST = ("prometheus/test_promtool.py", "prometheus/test_run_identity.py")
"""Files of which each test is a group: it is a program of its own."""
BY_FUNCTION = ("grafana/", "prometheus/test_alert_delivery.py")
"""Where each class and function is a group: their fixtures are cheap, or kept in `tests.kept`."""
WAITING = (
    "e2e/test_dead_network.py", "labels/", "e2e/", "trust/", "page/", "demo/test_demo_program.py",
    "guard/test_guard_ends.py", "gpus/test_nvml_stuck.py", "agent/test_agent_gpus.py", "poller/test_poller_once.py",
    "prices/test_one_at_a_time.py", "poller/test_savings_table.py", "prometheus/test_alert_delivery.py",
    "gpus/test_any_driver.py", "prometheus/test_one_notification.py", "poller/test_poller_schedule.py",
    "agent/test_agent_intake.py", "agent/test_agent_process.py", "prices/test_source_faults.py", "test_shipped.py",
    "launch/test_exec_terminal.py", "http_client/", "nodes/", "prices/test_prices_aws", "poller/", "gpus/",
)  # fmt: skip
"""What waits for programs and clocks for most of its time, the longest first: every other process takes these."""
BUSY = (
    "demo/", "agree/", "prometheus/test_promtool.py", "grafana/", "launch/test_exec_process.py", "report/",
    "prometheus/test_run_identity.py", "training/test_run_name.py", "agent/test_agent_gpu_time.py",
    "agent/test_agent_state.py", "launch/test_shell_run.py", "guard/", "prometheus/", "agent/", "launch/",
)  # fmt: skip
"""What computes, the longest first: the other processes take these, so that neither core is ever without work."""


def group_of(nodeid: str) -> str:
    """What is run in one process with the test ``nodeid`` (``tests/FOLDER/FILE.py::NAME[...]``)."""
    file, _, name = nodeid.partition("::")
    place = file.removeprefix("tests/")
    if place.startswith(BY_TEST):
        return nodeid
    if place.startswith(BY_FUNCTION):
        return f"{file}::{name.partition('[')[0].partition('::')[0]}"
    folder = place.partition("/")[0]
    return folder if folder in BUILT_ONCE and place not in ALONE else file


@cache
def place_in(starts: tuple[str, ...], place: str) -> int:
    """The number of the first of ``starts`` that ``place`` begins with; ``len(starts)`` if none."""
    return next((number for number, start in enumerate(starts) if place.startswith(start)), len(starts))


def waits(group: str) -> bool:
    """Whether a group spends most of its time waiting."""
    return place_in(WAITING, group.removeprefix("tests/")) < len(WAITING)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share groups out in the order of the collection, to every other process first what waits."""
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

        def _assign_work_unit(self, node: WorkerController) -> None:
            wanted = int(node.gateway.id.removeprefix("gw")) % 2 == 0
            group = next((group for group in self.workqueue if waits(group) == wanted), None)
            if group is not None:
                self.workqueue.move_to_end(group, last=False)
            super()._assign_work_unit(node)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long groups first."""

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(TESTS).as_posix()
        return place_in(WAITING if waits(place) else BUSY, place)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """From here on garbage is looked for among what tests make, not among eight thousand tests."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)  # most of what tests make lives as long as its test: a twentieth of the time
    gc.enable()


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the test starts are not measured: coverage's modules and files would change what is tested."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
