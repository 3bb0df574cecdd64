"""The examples of the documentation, run unchanged."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from tests.training.programs import environment, events, kinds, train

from epochcost.progress.clock import NodeClock
from epochcost.progress.event_files import EventFiles
from epochcost.progress.parse import Line, parse_line
from epochcost.progress.reading_settings import EventDirectories

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)


def test_the_shell_example_reports_a_run_that_the_reader_accepts(tmp_path: Path):
    (script,) = blocks("events.md", "bash")
    completed = subprocess.run(
        ["bash", "-euc", script], env=environment(tmp_path), capture_output=True, text=True, timeout=30, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    reader = EventFiles(EventDirectories(tmp_path))
    events_read = reader.poll(NodeClock(time.time, time.monotonic, "boot"))
    assert [event.kind.value for event in events_read] == [
        "start",
        "phase",
        "epoch_end",
        "epoch_end",
        "epoch_end",
        "end",
    ]
    assert reader.counts["accepted"] == 6
    assert events_read[0].experiment == "char-lm"
    assert 0.05 < events_read[3].t - events_read[2].t < 30


@pytest.mark.parametrize("number", range(5))
def test_the_python_examples_run_and_report(tmp_path: Path, number: int):
    examples = blocks("training.md", "python")
    assert len(examples) == 5
    outcome = train(examples[number], tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    reported = events(tmp_path)
    assert reported[-1]["status"] == "finished"
    assert reported[-1]["epoch"] == (10 if number == 2 else 3)
    ends = kinds(reported).count("epoch_end")
    assert ends == (6 if number == 2 else 3) or (number == 3 and 1 <= ends <= 3)  # nominal ones end between lines


def test_the_example_of_the_format_is_an_event_and_all_keys_are_described():
    first, _ = blocks("events.md", "json")
    assert isinstance(parse_line(first.strip().encode()), Line)
    described = set(re.findall(r"`(\w+)`", (DOCS / "events.md").read_text()))
    from epochcost.progress.parse import _FIGURES

    assert set(_FIGURES) - described <= {"unit"}
    assert set(json.loads(first)) <= described
