"""Every benchmark can be started, and its subject exists: a benchmark of nothing looks fast."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from tests.each import each

NAMES = [path.stem for path in sorted((Path(__file__).resolve().parents[1] / "benchmarks").glob("*.py"))]


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks put the checkout in front of the search path."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@each("name", NAMES)
def test_a_benchmark_has_usage_text(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", "--help"])
    benchmark = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as raised:
        benchmark.main()
    assert raised.value.code == 0
    assert f"benchmarks/{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["fleet", "dashboards", "report"])
def test_a_benchmark_says_which_program_it_lacks(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 2
    assert "prometheus and promtool must be installed: " in capsys.readouterr().err


def test_the_agent_whose_text_each_node_of_the_fleet_serves_has_a_node_its_gpus_and_a_run() -> None:
    from benchmarks import fleet

    text = fleet.Template().agent().decode()
    for name in ("node_cost_usd_total", "gpu_utilization_ratio", "run_state_cost_usd_total", "run_epochs_total"):
        assert f"\nepochcost_{name}{{" in text
    assert b"\nepochcost_run_epochs_total{" not in fleet.as_follower(text.encode())


def test_every_dashboard_has_queries_and_the_month_before_has_dollars() -> None:
    from benchmarks import dashboards

    boards = sorted(dashboards.BOARDS.glob("*.json"))
    assert boards
    for path in boards:
        assert list(dashboards.queries(json.loads(path.read_text()))), path.stem
    assert next(dashboards.month(1.8e9))


def test_the_catalogue_has_the_stated_length() -> None:
    from benchmarks import gcp_catalogue

    texts = gcp_catalogue.texts()
    assert len(texts) == gcp_catalogue.SKUS


def test_each_trial_of_a_fleet_is_a_run_with_dollars() -> None:
    from benchmarks import report

    samples = [(name, labels.get("run")) for _, name, labels, _ in report.trials(2, 3, 1.8e9)]
    for name in ("epochcost_run_info", "epochcost_run_state_cost_usd_total"):
        assert len({run for of, run in samples if of == name}) == 6
