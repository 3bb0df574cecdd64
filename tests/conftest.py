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
FIRST = (
    "demo/test_demo_alerts.py", "e2e/test_dead_network.py", "labels/", "e2e/", "grafana/test_dashboards_with_data.py",
    "agree/", "demo/", "prometheus/test_promtool.py", "trust/test_attackers.py", "page/test_live_page.py", "grafana/",
    "prometheus/test_run_identity.py", "launch/test_exec_process.py", "training/test_run_name.py", "test_shipped.py",
    "guard/test_guard_ends.py", "report/",
    "prometheus/test_alert_delivery.py", "agent/test_agent_gpus.py", "gpus/test_nvml_stuck.py", "poller/", "trust/",
    "prometheus/", "guard/", "agent/", "launch/", "page/",
)  # fmt: skip
"""What takes longest, or much of a processor, begins first, so that nothing is left over at the end."""


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share groups out in the order of the collection (pytest-xdist's ``loadgroup`` knows no order)."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long groups first."""

    @cache
    def rank(path: Path) -> int:
        place = path.relative_to(TESTS).as_posix()
        return next((number for number, start in enumerate(FIRST) if place.startswith(start)), len(FIRST))

    items.sort(key=lambda item: rank(item.path))


def pytest_collection_finish() -> None:
    """From here on garbage is looked for among what tests make, not among eight thousand tests."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)  # most of what tests make lives as long as its test: a twentieth of the time
    gc.enable()


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the test starts are not measured: coverage's modules and files would change what is tested."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
