"""``epochcost report`` as a program: shapes, files, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.report.conftest import run_of
from tests.report.worlds import FLEET, LENGTH, cost

from epochcost.reports.app import Progress
from epochcost.reports.format import UNKNOWN
from epochcost.reports.span import MOST_STEPS, span
from epochcost.settings import SettingsError
from epochcost.store.moment import moment

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[2]
SPAN = ("--from", str(FLEET.epoch_ts), "--to", str(FLEET.epoch_ts + LENGTH))


def epochcost(*arguments: str) -> subprocess.CompletedProcess[str]:
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    environment = {"PYTHONPATH": str(ROOT / "exporter"), "PATH": os.environ["PATH"], **measured}
    command = [sys.executable, "-m", "epochcost", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_table_has_a_line_for_each_experiment_and_each_run(in_prometheus):
    completed = epochcost("report", "--prometheus.url", in_prometheus.url, *SPAN)
    assert completed.returncode == 0, completed.stderr
    assert "2023-11-14 22:13 UTC to 2023-11-15 04:13 UTC" in completed.stdout
    assert "SIMULATED" in completed.stdout
    (line,) = [line for line in completed.stdout.splitlines() if line.startswith("char-lm-31 ")]
    assert "g5.xlarge" in line
    assert "$3.03" in line
    assert "12.93 min" in line
    assert "Limits of these figures" in completed.stdout


def test_json_holds_unrounded_figures_and_nulls(in_prometheus):
    completed = epochcost("report", "--prometheus.url", in_prometheus.url, *SPAN, "--format", "json")
    document = json.loads(completed.stdout)
    runs = {row["run"]: row for row in document["runs"]}
    assert runs["char-lm-31"]["cost_usd"] == pytest.approx(cost("char-lm-31"))
    assert runs["nobody-1"]["cost_usd"] is None
    assert document["simulated"] is True
    assert document["notes"]


def test_csv_has_a_line_for_each_run_and_prints_its_limits_on_stderr(in_prometheus, tmp_path):
    out = tmp_path / "report.csv"
    completed = epochcost(
        "report", "--prometheus.url", in_prometheus.url, *SPAN, "--format", "csv", "--output", str(out)
    )
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    assert len(rows) == len(FLEET.runs)
    assert float(rows["moved-1"]["cost_usd"]) == pytest.approx(cost("moved-1"))
    assert rows["nobody-1"]["cost_usd"] == ""
    assert rows["moved-1"]["simulated"] == "True"
    assert (completed.stdout, "on several nodes" in completed.stderr) == ("", True)
    assert [p.name for p in tmp_path.iterdir()] == ["report.csv"]


def test_names_cannot_break_the_markdown_table(in_prometheus):
    completed = epochcost("report", "--prometheus.url", in_prometheus.url, *SPAN, "--format", "markdown")
    tables = [line for line in completed.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 4
    assert f"| llm-7b-4417 | llm-7b | {UNKNOWN} | p4d.24xlarge | spot |" in completed.stdout


def test_an_empty_span_is_an_error_that_names_the_query(in_prometheus):
    completed = epochcost("report", "--prometheus.url", in_prometheus.url, "--from", "2020-01-01", "--to", "2020-01-02")
    assert completed.returncode == 1
    assert "has no epochcost_node_info between 2020-01-01 00:00 UTC and 2020-01-02 00:00 UTC" in completed.stderr
    assert completed.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["report"], 2, "--prometheus.url is required"),
        (["report", "--prometheus.url", "http://127.0.0.1:1"], 1, "request failed"),
        (["report", "--prometheus.url", "http://ann:tr0ub4dor@h"], 2, "are not allowed in it"),
        (["report", "--prometheus.url", "ftp://h"], 2, "expected http://HOST:PORT"),
        (["report", "--from", "yesterday"], 2, "--from: 'yesterday' is not valid"),
        (["report", "--from", "1h", "--to", "2h"], 2, "must be earlier"),
        (["report", "--experiment", "("], 2, "expected a regular expression"),
        (["report", "--format", "pdf"], 2, "allowed: table, csv"),
        (["report", "--prometheus.header", "no colon"], 2, "expected NAME: VALUE"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(arguments, code, message):
    completed = epochcost(*arguments)
    assert (completed.returncode, message in completed.stderr) == (code, True), completed.stderr
    assert len(completed.stderr.splitlines()) == 1
    assert "tr0ub4dor" not in completed.stderr


def test_a_wrong_matcher_shows_the_stores_error(in_prometheus):
    completed = epochcost("report", "--prometheus.url", in_prometheus.url, *SPAN, "--match", "cluster=")
    assert completed.returncode == 1
    assert "HTTP 400: bad_data" in completed.stderr


def test_a_file_that_cannot_be_written_is_named(in_prometheus, tmp_path):
    completed = epochcost(
        "report", "--prometheus.url", in_prometheus.url, *SPAN, "--output", str(tmp_path / "no" / "x")
    )
    assert (completed.returncode, "cannot be written" in completed.stderr) == (1, True)


def test_times_are_ages_dates_or_seconds():
    now = 1_700_000_000.0
    assert moment("now", "--to", now) == now
    assert moment("12h", "--from", now) == now - 43_200
    assert moment("1699999999", "--from", now) == 1_699_999_999
    assert moment("2023-11-14T22:13:20Z", "--from", now) == now
    assert moment("2023-11-14T23:13:20+01:00", "--from", now) == now
    with pytest.raises(SettingsError, match="--from"):
        moment("7 days", "--from", now)


def test_a_long_span_has_no_more_windows_than_can_be_read():
    assert span("365d", "now", 1_700_000_000.0).steps == MOST_STEPS
    assert span("10s", "now", 1_700_000_000.0).steps == 1
    assert span("1h", "2099-01-01", 1_700_000_000.0).end == 1_700_000_000.0


def test_progress_is_printed_only_when_it_takes_long():
    out, now = io.StringIO(), [0.0]
    progress = Progress(out, lambda: now[0])
    for second in range(7):
        now[0] = float(second)
        progress("run_info", second, 7)
    progress.end()
    assert out.getvalue().splitlines() == [
        f"epochcost report: {n + 1} queries, {n} s; run_info {100 * n // 7} %" for n in (2, 4, 6)
    ]


def test_names_from_training_code_cannot_become_formulas_or_tags(full_report):
    from dataclasses import replace

    from epochcost.reports.data import as_csv
    from epochcost.reports.report_page import page
    from epochcost.reports.text import markdown

    bad = replace(run_of(full_report, "moved-1"), label="=cmd|' /C calc'!A0", experiment="<img src=x onerror=alert(1)>")
    report = replace(full_report, runs=[bad], groups=[bad])
    assert next(csv.DictReader(io.StringIO(as_csv(report))))["run"].startswith("'=cmd")
    assert "<img" not in page(report)
    assert "<img" not in markdown(report)
