"""Real training programs in processes of their own, and their events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2] / "exporter"
LAUNCHER_VARIABLES = ("EPOCHCOST_", "SLURM_", "OMPI_", "CUDA_", "NVIDIA_", "TORCHELASTIC_", "WANDB_", "PMI_")
LAUNCHER_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "PYTHONPATH")

TRAINING = """
import sys, epochcost
weight = 0.0
with epochcost.run("sum", epochs=3, batch_size=2) as run:
    for epoch in run.epochs():
        for batch in run.batches([1.0, 2.0, 3.0]):
            weight += batch * 0.5
        with run.phase("eval"):
            weight += 0.25
        with run.checkpoint():
            pass
print(weight)
sys.exit(7)
"""
TRAINED = "9.75\n"


def environment(directory: Path | str | None, **more: str) -> dict[str, str]:
    """This process's environment without launcher variables, with the package and the events directory."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(LAUNCHER_VARIABLES) and name not in LAUNCHER_NAMES
    }
    where = {} if directory is None else {"EPOCHCOST_DIR": str(directory)}
    return {**variables, "PYTHONPATH": str(PACKAGE), **where, **more}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def warnings(self) -> list[str]:
        return self.err.splitlines()


def train(code: str, directory: Path | str | None, *arguments: str, cwd: Path | None = None, **more: str) -> Outcome:
    """Run ``code`` to its end."""
    completed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=environment(directory, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )
    return Outcome(completed.returncode, completed.stdout, completed.stderr)


def begin(code: str, directory: Path, **more: str) -> subprocess.Popen[str]:
    """Start ``code``; it writes to stdout and reads from stdin."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment(directory, **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events_by_file(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(directory.glob("*.jsonl"))
    }


def events(directory: Path) -> list[dict[str, Any]]:
    """All events of the one file that is there."""
    files = events_by_file(directory)
    assert len(files) == 1, f"expected one file, found {list(files)}"
    return next(iter(files.values()))


def kinds(lines: list[Mapping[str, object]] | list[dict[str, Any]]) -> list[str]:
    return [str(line["ev"]) for line in lines]
