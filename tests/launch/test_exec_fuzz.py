"""Lines of all formats, mixed, broken and cut: no error, no invented epoch, bounded time for a line.

`EPOCHCOST_FUZZ_LINES=100000 pytest tests/launch/test_exec_fuzz.py` takes a minute; a sample runs with all tests.
"""

from __future__ import annotations

import gc
import os
import random
import re
import time
from collections.abc import Iterator

import pytest
from tests.launch.test_exec_programs import LOOPS, STEPS_ONLY

from epochcost.launch.moment import Moment
from epochcost.launch.reading.line_reader import LineReader
from epochcost.launch.reading.lines import Lines
from epochcost.launch.reading.program_rows import programs
from epochcost.launch.reading.progress_snapshot import Plan
from epochcost.launch.reading.progress_tracker import ProgressTracker
from epochcost.launch.reading.vocabulary import TRAINING_NAME

LINES = int(os.environ.get("EPOCHCOST_FUZZ_LINES", "6000"))
MAX_LINE_SECONDS = 0.02
SEEDS = 6

TEMPLATES = [
    *(how[key] for how, _ in LOOPS.values() for key in ("head", "within", "end", "before", "after") if key in how),
    *(re.sub(r"\d+", "{e}", row.example.replace("{", "{{").replace("}", "}}")) for row in programs()),
    *STEPS_ONLY.values(),
    "Epoch {e}/{E}: {p}%|###| {b}/{N} [00:01<00:01, 9.98it/s]",
    "{p}%|###| {b}/{N} [00:01<00:01, 9.98it/s]",
    "train: {p}%|###| {b}/{N} [00:01<00:01, 9.98it/s]",
    "{b}/{N} [====>....] - ETA: 3s - loss: 0.5",
    "{{'loss': 0.5, 'learning_rate': 1e-5, 'epoch': {f}}}",
    "Num Epochs = {E}",
    "total optimization steps = {N}",
    "plain words without any figure",
    "",
]  # fmt: skip


def mixed(rng: random.Random, lines: int) -> bytes:
    """Numbers are large and random, so that no two lines of a kind follow each other by chance."""
    output: list[bytes] = []
    for _ in range(lines):
        number = {name: rng.randrange(1000, 10**6) for name in "eELbzgN"}
        values = {**number, "p": rng.randrange(101), "f": f"{rng.uniform(0, 1e6):.2f}", "h": "0.50"}
        line = str(rng.choice(TEMPLATES)).format(**values).encode()
        shape = rng.random()
        if shape < 0.1:
            line = line[: rng.randrange(len(line) + 1)]
        elif shape < 0.2:
            at = rng.randrange(len(line) + 1)
            line = line[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9))) + line[at:]
        elif shape < 0.25:
            line = line + rng.choice([b"\r", b"\x1b[A", b"\x08" * 9, b"\x00"]) + line[: rng.randrange(len(line) + 1)]
        elif shape < 0.27:
            line *= rng.randrange(2, 60)
        output.append(line + rng.choice([b"\n", b"\n", b"\r", b"\r\n"]))
    return b"".join(output)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """A collection among the thousands of tests of this process takes longer than any line, unrelated to lines."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_mixed_lines_of_all_kinds_cause_no_error_and_no_invented_epoch(seed: int):
    rng = random.Random(seed)
    data = mixed(rng, LINES // SEEDS)
    numbers_printed = {int(number) for number in re.findall(rb"\d{1,15}", data)}
    reader, lines, tracker = LineReader(), Lines(), ProgressTracker(Plan(), Moment(0.0, 0.0))
    now, at, slowest = 0.0, 0, 0.0
    ends: list[int] = []
    while at < len(data):
        size = rng.choice([1, 10, 100, 1000, 5000])
        now += rng.choice([0.0, 0.001, 0.1, 10.0])
        for line in lines.cut(data[at : at + size]):
            started_at = time.thread_time()
            if (progress := reader.parse(line)) is not None:
                tracker.take(progress, Moment(now, now), line)
            ends += [one.ended for one in tracker.news(Moment(now, now)) if one.ended is not None]
            slowest = max(slowest, time.thread_time() - started_at)
            lines.every = reader.wants_all
        at += size
    ends += [one.ended for one in tracker.finish(Moment(now, now)) if one.ended is not None]
    assert slowest < MAX_LINE_SECONDS
    assert [end for end in ends if not {end - 1, end, end + 1} & numbers_printed] == []
    assert len(ends) < 20


@pytest.mark.parametrize("seed", ["1.", "1-", "1e-", "1+1 ", "train ", "epoch 1.5 "])
def test_the_name_of_a_bar_has_one_reading(seed: str) -> None:
    """Where a number's point was of two kinds of pieces, 14 of them took 1.5 s, and 40 would never have ended."""
    assert TRAINING_NAME.fullmatch(f"{seed * 49}~x") is None
    assert TRAINING_NAME.fullmatch(seed * 3) is not None
