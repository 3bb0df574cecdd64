"""Registered parts have everything that CONTRIBUTING.md requires; missing items are named with their location."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import epochcost
from epochcost import gpus, prices, training
from epochcost.agent.agent_settings import OWNER_SOURCES, AgentSettings
from epochcost.nodes.metadata import CLOUDS
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices import SOURCES
from epochcost.prices.price_source import NotConfiguredError
from epochcost.settings import SettingsError, load
from epochcost.training import api

ROOT = Path(__file__).parents[1]
OF_THE_SAME_PAGE = {"aws_bulk": "aws"}
"""Price sources that share a page, and their tests, with another."""
WITHOUT_PROVIDER = {"owned", "listed"}
"""Price sources that read files only."""
OWN_FAULTS = {"aws": "test_prices_aws.py", "aws_bulk": "test_prices_aws_bulk.py", "gcp": "test_gcp_prices.py"}
"""Price sources that ask by an SDK or a file: where their providers' faults are tried, instead of in the matrix."""
CALLBACKS = sorted(name for name in epochcost.__all__ if re.search(r"_callbacks?$|^jax_run$", name))
NOT_INSTALLABLE = {"composer_callback"}
"""Callbacks whose framework no longer installs here: only their protocol is tried."""
SCRIPT = "scripts/test-frameworks"
NO_TRAINER = {"jax_run"}
"""Not called by a framework: the user's own loop reports, so there is nothing of another user's to compare."""


def text(path: str) -> str:
    """A file of the project, empty if there is none."""
    where = ROOT / path
    return where.read_text(encoding="utf-8") if where.is_file() else ""


def letters(path: str) -> str:
    """The text of a file, lower-case, letters and digits alone: "Hugging Face" is found as ``huggingface``."""
    return re.sub(r"[\W_]", "", text(path).lower())


def allowed(flag: str, value: str) -> bool:
    try:
        load(AgentSettings, "agent", {flag: value}, {})
    except SettingsError:
        return False
    return True


def providers(source: str) -> set[str]:
    """The providers of the sources that a module makes."""
    module = importlib.import_module(SOURCES[source])
    kinds = [each for each in vars(module).values() if isinstance(each, type) and hasattr(each, "fetch")]
    found = [field.default for kind in kinds for field in dataclasses.fields(kind) if field.name == "provider"]
    return {provider for provider in found if isinstance(provider, str) and provider}


def packages(hooks: str) -> set[str]:
    """What the hooks in ``training/HOOKS.py`` import of others."""
    tree = ast.walk(ast.parse(text(f"exporter/epochcost/training/{hooks}.py")))
    names = {each.module or "" for each in tree if isinstance(each, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} - {"epochcost", *sys.stdlib_module_names}


def lacking(*requirements: tuple[bool, str]) -> list[str]:
    return [what for there, what in requirements if not there]


@pytest.mark.parametrize("name", SOURCES)
def test_a_price_source_has_its_page_and_its_faults(name: str) -> None:
    page = OF_THE_SAME_PAGE.get(name, name)
    faults = text(f"tests/prices/{OWN_FAULTS.get(name, 'test_source_faults.py')}")
    listed = text("docs/prices.md")
    billing = {line.partition(",")[0] for line in text("exporter/epochcost/prices/billing.csv").splitlines()}
    assert not lacking(
        (name == page or name in text(f"docs/prices/{page}.md"), f"{name} in docs/prices/{page}.md"),
        (bool(text(f"docs/prices/{page}.md")), f"the page docs/prices/{page}.md"),
        (f"\n| `{name}` | " in listed, "its row in the table of sources in docs/prices.md, with a link to the page"),
        (
            listed.count(f"prices/{page}.md") > 1,
            "its row in the table under 'Sources over plain HTTP' in docs/prices.md",
        ),
        (f"`{name}`" in listed.partition("| `--prices.sources` |")[0], "its name in the sentence above that table"),
        (
            providers(name) <= billing,
            f"a row of {', '.join(providers(name))} in prices/billing.csv, without figures if they are not known",
        ),
        (
            any(page in path.stem for path in (ROOT / "tests/prices").glob("test_*.py")),
            f"its own tests, tests/prices/test_{name}.py",
        ),
        (
            name in WITHOUT_PROVIDER or f"`{name}" in text("docs/prices/relied-on.md"),
            "a row in docs/prices/relied-on.md",
        ),
        (
            name in WITHOUT_PROVIDER or (name in OWN_FAULTS and bool(faults)) or f'"{name}' in faults,
            "its provider's faults: a row in tests/prices/test_source_faults.py",
        ),
    )


@pytest.mark.parametrize("name", SOURCES)
def test_a_price_source_has_its_settings(name: str) -> None:
    """The settings in the Protocol of ``make`` are settings of the poller."""
    make = importlib.import_module(SOURCES[name]).make
    (protocol,) = [kind for about, kind in typing.get_type_hints(make).items() if about != "return"]
    names = {name for base in protocol.__mro__ for name in vars(base) if not name.startswith("_")}
    assert names
    assert {name for name in names if not hasattr(PollerSettings, name)} == set(), "add it to poller/http_settings.py"


def test_a_source_without_its_setting_is_skipped_with_a_message() -> None:
    with pytest.raises(NotConfiguredError, match=r"^lambda: object has no setting 'lambda_api_key_file'$"):
        prices.make("lambda", object())


@pytest.mark.parametrize("name", [*gpus.SOURCES, "dcgm"])
def test_a_device_source_has_its_rows_and_its_tests(name: str) -> None:
    assert not lacking(
        (allowed("gpus.source", name), "a choice of gpus.source in agent/agent_settings.py"),
        (f"--gpus.source={name}" in text("docs/devices.md"), f"`--gpus.source={name}` in docs/devices.md"),
        (any(name in path.name for path in (ROOT / "tests/gpus").glob("test_*.py")), f"tests/gpus/test_{name}.py"),
    )


@pytest.mark.parametrize("name", OWNER_SOURCES)
def test_a_source_of_owners_is_asked_and_has_its_row_and_its_tests(name: str) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/owners").glob("test_*.py"))
    asked = text("exporter/epochcost/agent/sources.py") + text("exporter/epochcost/agent/gpu_owners.py")
    assert not lacking(
        (f'"{name}"' in asked, f"{name} in owner_feeds of agent/sources.py"),
        (f"\n| `{name}` | " in text("docs/owners.md"), f"a row of {name} in docs/owners.md"),
        (f'"{name}"' in tests, f"{name} in tests/owners"),
    )


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_has_its_server_and_its_row(name: str) -> None:
    assert not lacking(
        (name in text("tests/nodes/clouds.py").lower(), f"a server of {name}'s protocol in tests/nodes/clouds.py"),
        (name in text("docs/nodes.md").lower(), f"{name} in docs/nodes.md"),
        (allowed("node.metadata", name), "a choice of node.metadata in agent/agent_settings.py"),
    )


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_has_its_docs_its_protocol_test_and_a_framework_test(name: str) -> None:
    short = re.sub(r"_callbacks?$|_run$", "", name)
    sections = re.findall(r"^\*\*([^*]+)\*\*", text("docs/frameworks.md"), re.MULTILINE)
    guarded = text("docs/guard.md").partition("| how it stops |")[2].partition("\n\n")[0]
    real = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/frameworks").glob("test_*.py"))
    both = text("tests/frameworks/test_with_and_without.py")
    protocols = text("tests/training/test_callback_protocols.py")
    assert not lacking(
        (f"epochcost.{name}(" in text("docs/frameworks.md"), f"epochcost.{name}(...) in docs/frameworks.md"),
        (
            short in {re.sub(r"\W", "", title.lower()) for title in sections},
            f"a section of {short} in docs/frameworks.md",
        ),
        (short in letters("docs/training.md"), f"{short} in docs/training.md, under 'Frameworks'"),
        (short in letters("docs/trackers.md"), f"a row of {short} in docs/trackers.md"),
        (
            name in NO_TRAINER or short in re.sub(r"\W", "", guarded.lower()),
            f"a row of {short} in docs/guard.md: how the guard stops it",
        ),
        (name in NO_TRAINER or short in protocols.lower(), f"{short} in tests/training/test_callback_protocols.py"),
        (
            name in NOT_INSTALLABLE or f"epochcost.{name}(" in real,
            f"{name} with the real framework in tests/frameworks",
        ),
        (
            name in NOT_INSTALLABLE | NO_TRAINER or f"epochcost.{name}(" in both,
            f"{name} in tests/frameworks/test_with_and_without.py",
        ),
        (name in text("exporter/epochcost/training/api.py"), f"{name} in training/api.py"),
        (
            all(f'"{package}.*"' in text("pyproject.toml") for package in packages(short)),
            f"{', '.join(packages(short))} in the overrides of mypy in pyproject.toml",
        ),
        (
            name in NOT_INSTALLABLE or not packages(short) or any(p in text(SCRIPT) for p in packages(short)),
            f"{', '.join(packages(short))} among what {SCRIPT} installs",
        ),
    )


def test_every_callback_of_the_api_is_exported() -> None:
    callbacks = {name for name in vars(api) if re.search(r"^[a-z]\w*_callbacks?$", name)}
    tree = ast.walk(ast.parse(text("exporter/epochcost/__init__.py")))
    imports = [each for each in tree if isinstance(each, ast.ImportFrom) and each.module == api.__name__]
    imported = {alias.name for each in imports for alias in each.names}
    assert callbacks - set(api.__all__) == set(), "add it to __all__ in training/api.py"
    assert callbacks - set(epochcost.__all__) == set(), "add it to __all__ in epochcost/__init__.py"
    assert callbacks - imported == set(), "add it to the imports for type checkers in epochcost/__init__.py"


def test_every_file_of_hooks_is_offered() -> None:
    """A callback that cannot be imported does not exist for users."""
    missing = []
    for module in pkgutil.iter_modules(training.__path__):
        where = text(f"exporter/epochcost/training/{module.name}.py")
        if re.search(r"^from epochcost\.training\.fit import .*\bFit\b", where, re.MULTILINE):
            offered = text("exporter/epochcost/training/api.py")
            if f"epochcost.training.{module.name}" not in offered and f'"{module.name}"' not in offered:
                missing.append(f"training/{module.name}.py is offered by no function of training/api.py")
    assert not missing


def test_every_price_source_of_the_folder_is_registered() -> None:
    """A module with ``make(settings)`` is in `SOURCES`."""
    registered = set(SOURCES.values())
    missing = [
        module.name
        for module in pkgutil.walk_packages(prices.__path__, "epochcost.prices.")
        if re.search(r"^def make\(", text(f"exporter/{module.name.replace('.', '/')}.py"), re.MULTILINE)
        and module.name not in registered
    ]
    assert not missing


def test_the_public_api_is_the_same_in_the_package_the_module_and_the_docs() -> None:
    api = importlib.import_module("epochcost.training.api")
    docs = text("docs/training.md") + text("docs/frameworks.md") + text("README.md")
    assert set(epochcost.__all__) - {"__version__"} == set(api.__all__)
    assert [name for name in epochcost.__all__ if not name.startswith("__") and name not in docs] == []
    for name in epochcost.__all__:
        assert getattr(epochcost, name) is not None


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_starts_from_anywhere_without_a_search_path(path: Path, tmp_path: Path) -> None:
    completed = subprocess.run(
        [sys.executable, path, "--help"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.startswith("usage: ")
