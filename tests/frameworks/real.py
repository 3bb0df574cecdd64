"""Real training runs with real frameworks on the CPU, each in a process of its own, beside an outer clock."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.training.programs import environment, events, kinds

SECONDS = 300


@dataclass(frozen=True)
class Training:
    """A program's result (its last line, JSON), its events and its output."""

    result: dict[str, Any]
    lines: list[dict[str, Any]]
    out: str
    err: str

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["ev"] == kind]

    @property
    def kinds(self) -> list[str]:
        return kinds(self.lines)

    def epoch_seconds(self) -> list[float]:
        """From the first `train` to the first end of an epoch, and from end to end."""
        start = next(line["mono"] for line in self.lines if line["ev"] == "phase" and line["phase"] == "train")
        marks = [start, *(line["mono"] for line in self.of("epoch_end"))]
        return [later - earlier for earlier, later in itertools.pairwise(marks)]

    def agrees_with_the_outer_clock(self) -> None:
        marks = self.result["marks"]
        outer = [later - earlier for earlier, later in itertools.pairwise(marks)]
        assert len(outer) >= 2
        assert self.epoch_seconds() == pytest.approx(outer, rel=0.01)


def launch(code: str, directory: Path, *arguments: str, code_expected: int = 0, **extra: str) -> tuple[str, str]:
    """Run ``code`` to its end; returns its stdout and stderr."""
    quiet = {"TQDM_DISABLE": "1", "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    completed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=environment(directory, **{**quiet, "HOME": str(directory), **extra}),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert completed.returncode == code_expected, completed.stderr[-3000:] + completed.stdout[-1000:]
    return completed.stdout, completed.stderr


def train(code: str, directory: Path, *arguments: str, **extra: str) -> Training:
    """The one run that ``code`` reports."""
    out, err = launch(code, directory, *arguments, **extra)
    assert "is not reported" not in err, err[-3000:]
    results = [line for line in out.splitlines() if line.startswith("{")]
    return Training(json.loads(results[-1]), list(events(directory)), out, err)


def facts(line: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in names)
