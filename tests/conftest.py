"""How the tests are spread over processes: what shares an expensive fixture stays in one, the longest begin first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing
hypothesis.settings.load_profile("any machine")
TESTS = Path(__file__).parent
BUILT_ONCE = ("demo", "report")
"""Folders whose files share a fixture that takes long to build: each is one group. Elsewhere a file is one."""
SPLIT = ("grafana", "prometheus")
"""Folders in which each class and function is a group: their fixtures are cheap, or kept in `tests.kept`."""
FIRST = ("e2e", "demo", "report", "prometheus", "grafana", "launch", "poller", "agent")
"""Folders whose groups take longest: they begin first, so that none is left over at the end."""


def group_of(nodeid: str) -> str:
    """What is run in one process with the test ``nodeid`` (``tests/FOLDER/FILE.py::NAME[...]``)."""
    file, _, name = nodeid.partition("::")
    folder = file.split("/")[1]
    if folder in BUILT_ONCE:
        return folder
    if folder in SPLIT:
        whole = "promtool" in file  # each file of rule tests is a program of its own
        return nodeid if whole else f"{file}::{name.partition('[')[0].partition('::')[0]}"
    return file


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
    order = {name: rank for rank, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).parts[0], len(order)))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the test starts are not measured: coverage's modules and files would change what is tested."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
