"""The structure of the training package: no import cycle, and the run separate from the API."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest
from tests.test_imports import PACKAGE, imported

import epochcost

ROOM = PACKAGE / "training"
MODULES = {f"epochcost.training.{path.stem}": path for path in ROOM.glob("*.py") if path.stem != "__init__"}


def needed(path: Path) -> set[str]:
    """Modules of the package that a file imports, inside functions too, or names for ``importlib``."""
    modules = imported(path) & set(MODULES)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "epochcost.training":
            modules |= {f"epochcost.training.{alias.name}" for alias in node.names} & set(MODULES)
        if isinstance(node, ast.Constant) and node.value in MODULES:
            modules.add(str(node.value))
    return modules


def test_there_is_no_import_cycle() -> None:
    graph = {name: needed(path) for name, path in MODULES.items()}
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("path", MODULES.values(), ids=lambda path: path.name)
def test_no_module_of_the_package_imports_the_api(path: Path) -> None:
    assert "epochcost.training.api" not in needed(path)


def test_the_api_and_the_package_offer_the_same() -> None:
    from epochcost.training import api

    assert set(epochcost.__all__) == {*api.__all__, "__version__"}
    assert all(getattr(epochcost, name) is getattr(api, name) for name in api.__all__)


def test_a_callback_takes_what_a_run_takes() -> None:
    import inspect

    from epochcost.training.fit_args import UserArgs

    of_run = set(inspect.signature(epochcost.run).parameters)
    assert set(inspect.signature(UserArgs).parameters) == of_run | {"log_costs", "report_metrics", "stop_when_asked"}
