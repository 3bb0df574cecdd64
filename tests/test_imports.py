"""The import rules: which part may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tests.each import each

PACKAGE = Path(__file__).resolve().parents[1] / "exporter" / "epochcost"
IO_PACKAGES = {"nodes", "gpus", "prices", "progress", "training", "owners"}
SERVICES = {
    "serve",
    "http_client",
    "untrusted_files",
    "shown_text",
    "shutdown",
    "guarded_collector",
    "metric_families",
    "sha256",
    "asking_thread",
    "settings",
    "palette",
    "_version",
}
FOR_EVERY_ROOM = {"model", "_version", "http_client", "untrusted_files", "shown_text", "sha256", "asking_thread"}
PROGRAMS = {"agent", "poller"}
WIRING = {
    "agent/app.py",
    "agent/sources.py",
    "agent/check.py",
    "agent/events_directory.py",
    "agent/state_directory.py",
    "poller/app.py",
    "poller/poller_settings.py",
    "cli.py",
    "cli_parser.py",
}
PARTS = {
    "agent/agent_settings.py": {"prices"},
    "agent/priced_machine.py": {"nodes", "prices", "progress"},
    "agent/price_feed.py": {"prices"},
    "agent/node_terms.py": {"prices"},
    "agent/credit_spending.py": {"prices"},
    "agent/machine_terms.py": {"prices"},
    "agent/meter.py": {"prices"},
    "agent/meter_inputs.py": {"prices"},
    "agent/gpu_sampling.py": {"gpus"},
    "agent/host_sampling.py": {"gpus"},
    "agent/gpu_owners.py": {"owners"},
    "agent/agent_health.py": {"nodes"},
    "agent/agent_memory.py": {"nodes", "progress"},
    "agent/agent_server.py": {"progress"},
    "agent/guarding.py": {"progress"},
    "agent/sampling_loop.py": {"progress"},
    "agent/sampled.py": {"nodes"},
    "agent/cost_files.py": {"progress"},
    "agent/preemption_file.py": {"progress"},
}
"""Parts of a program that drive rooms, and which; nobody else but `WIRING` does."""
STANDARD = sys.stdlib_module_names


def imported(path: Path, *, everywhere: bool = True) -> set[str]:
    """Modules that a file imports, dotted; ``everywhere`` includes imports inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    modules: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules.add(node.module or "")
            if node.module == "epochcost":
                modules.update(f"epochcost.{alias.name}" for alias in node.names)
    return modules


def own_parts(path: Path) -> set[str]:
    """The parts of epochcost that a file imports: ``model``, ``ledger``, ``gpus``, ..."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("epochcost.")}


FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_the_model_imports_no_other_part() -> None:
    files = [path for path in FILES if part(path) == "model"]
    assert files
    assert set().union(*map(own_parts, files)) <= {"model"}


@each("path", [f for f in FILES if part(f) == "ledger"], name_of=lambda p: p.name)
def test_the_ledger_imports_only_the_model_and_no_clock_file_or_log(path: Path) -> None:
    assert own_parts(path) <= {"model", "ledger"}
    assert not {name.split(".")[0] for name in imported(path)} & {
        "time",
        "datetime",
        "os",
        "io",
        "logging",
        "pathlib",
        "socket",
    }
    calls = {
        n.func.id
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not calls & {"open", "print", "input"}


@each("path", [f for f in FILES if part(f) in IO_PACKAGES], name_of=lambda p: f"{part(p)}/{p.name}")
def test_an_io_package_imports_only_the_model_and_itself(path: Path) -> None:
    assert own_parts(path) <= FOR_EVERY_ROOM | {part(path)}


@each("path", [f for f in FILES if part(f) == "training"] + [PACKAGE / "__init__.py"], name_of=lambda p: p.name)
def test_what_runs_inside_the_users_process_is_the_standard_library_alone(path: Path) -> None:
    assert own_parts(path) <= {"training", "_version"}
    at_import = {name.split(".")[0] for name in imported(path, everywhere=False)}
    assert at_import <= STANDARD | {"epochcost"}


@each("path", [f for f in FILES if part(f) == "launch"], name_of=lambda p: p.name)
def test_the_launcher_is_the_standard_library_and_the_training_side(path: Path) -> None:
    assert own_parts(path) <= {"launch", "training", "_version"}
    assert {name.split(".")[0] for name in imported(path, everywhere=False)} <= STANDARD | {"epochcost"}


@each("path", [f for f in FILES if part(f) == "reports"], name_of=lambda p: p.name)
def test_reports_import_the_store_and_of_prices_only_owned_machines_and_billing_rules(path: Path) -> None:
    assert own_parts(path) <= FOR_EVERY_ROOM | {"settings", "palette", "prices", "reports", "store"}
    prices = {name for name in imported(path) if name.startswith("epochcost.prices.")}
    assert prices <= {"epochcost.prices.owned.owned_source", "epochcost.prices.billing"}


@each("path", [f for f in FILES if part(f) == "guard"], name_of=lambda p: p.name)
def test_the_guard_imports_no_io_package_and_no_program(path: Path) -> None:
    assert own_parts(path) <= FOR_EVERY_ROOM | {"settings", "store", "guard"}


@pytest.mark.parametrize(
    "name",
    ["observation", "policy", "conditions", "evidence", "ladder", "account", "decisions", "engine", "placeholders"],
)
def test_decisions_of_the_guard_depend_on_observations_only(name: str) -> None:
    modules_loaded = {module.split(".")[0] for module in imported(PACKAGE / "guard" / f"{name}.py")}
    assert not modules_loaded & {"time", "os", "io", "pathlib", "socket", "subprocess", "threading"}


HEAVY = {"ssl", "hashlib", "_hashlib", "http.client", "email", "prometheus_client", "csv", "zoneinfo", "yaml"}
HEAVY_OF_OURS = {f"epochcost.{part}" for part in ("poller", "reports", "demo", "http_client", "launch")}


@pytest.mark.usefixtures("unmeasured")
def test_an_agent_without_requests_loads_no_openssl_no_http_client_and_no_other_program() -> None:
    """10 MiB of 37: see docs/performance.md."""
    program = """
import sys
from epochcost.cli import _warn_of_unknown_variables
from epochcost.cli_parser import make_parser
import epochcost.agent.app
from epochcost.settings import load
from epochcost.agent.agent_settings import AgentSettings
load(AgentSettings, "agent", vars(make_parser("agent").parse_args(["agent", "--price.usd-per-hour=1"])), {})
_warn_of_unknown_variables({"EPOCHCOST_DIR": "/x"})
print("\\n".join(sys.modules))
"""
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules_loaded = set(completed.stdout.split())
    assert "epochcost.agent.app" in modules_loaded
    assert not modules_loaded & HEAVY
    assert not modules_loaded & HEAVY_OF_OURS


def test_an_agent_without_a_policy_loads_nothing_of_the_guard() -> None:
    program = "import sys, epochcost.agent.app; print([n for n in sys.modules if n.startswith('epochcost.guard.')])"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"


@each("path", [f for f in FILES if part(f) == "store"], name_of=lambda p: p.name)
def test_the_store_imports_none_of_its_readers(path: Path) -> None:
    assert own_parts(path) <= FOR_EVERY_ROOM | {"settings", "store"}


@each("path", [f for f in FILES if part(f) in SERVICES], name_of=lambda p: f"{part(p)}/{p.name}")
def test_services_import_no_io_package_and_no_program(path: Path) -> None:
    assert not own_parts(path) & (IO_PACKAGES | PROGRAMS | {"ledger"})


@each(
    "path",
    [f for f in FILES if part(f) in PROGRAMS and str(f.relative_to(PACKAGE)) not in WIRING],
    name_of=lambda p: f"{part(p)}/{p.name}",
)
def test_only_app_modules_combine_io_packages(path: Path) -> None:
    allowed = {"prices"} if part(path) == "poller" else set()  # the poller is about prices and nothing else
    allowed |= PARTS.get(str(path.relative_to(PACKAGE)), set())
    assert not own_parts(path) & (IO_PACKAGES - allowed)


@pytest.mark.parametrize("name", ["scenario.py", "fleet.py", "simulated_machine.py"])
def test_the_demos_script_uses_only_the_model(name: str) -> None:
    assert own_parts(PACKAGE / "demo" / name) <= {"model", "demo"}


def test_importing_epochcost_loads_no_third_party_package_and_is_quick() -> None:
    program = "import sys; before = set(sys.modules); import epochcost; print('\\n'.join(set(sys.modules) - before))"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules_loaded = {name.split(".")[0] for name in completed.stdout.split()}
    assert modules_loaded <= STANDARD | {"epochcost"}
    assert not [name for name in completed.stdout.split() if name.startswith(("epochcost.agent", "epochcost.model"))]
