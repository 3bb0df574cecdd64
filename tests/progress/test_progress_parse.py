"""Parsing of a line: events and malformed lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.model import EndStatus, EventKind, Phase, TrainingEvent
from epochcost.progress.parse import MAX_LINE_BYTES, Line, Rejected, parse_line, safe_text

LEAST = {"v": 1, "ev": "progress", "ts": 1_700_000_000.5, "run": "r"}


def parsed(**keys: Any) -> Line | Rejected:
    return parse_line(json.dumps({**LEAST, **keys}).encode())


def event(**keys: Any) -> TrainingEvent:
    line = parsed(**keys)
    assert isinstance(line, Line), line
    return line.event(line.ts, "w", line.run, None)


@pytest.mark.parametrize(
    ("keys", "from_output"),
    [
        ({"writer": "exec", "launcher": "slurm", "job": "7"}, True),
        ({"launcher": "exec"}, True),  # as versions before wrote
        ({"launcher": "slurm", "job": "7"}, False),
        ({"writer": ["exec"]}, False),
    ],
)
def test_progress_parsed_from_a_programs_output_is_marked(keys: dict[str, object], from_output: bool):
    line = parse_line(json.dumps({"v": 1, "ev": "start", "ts": 1.0, "run": "a", **keys}).encode())
    assert isinstance(line, Line)
    assert line.event(1.0, "w", line.run, None).from_output is from_output


def test_every_key_of_the_format_arrives_in_the_event():
    line = parsed(
        ev="end", mono=81.2, experiment="char-lm", pid=71, pidns=9, lock=True, rank=0, local_rank=0, node_rank=0,
        nodes=1, world=8, gpus=["GPU-a", 1], framework="torch", unit="epoch", epoch=3.25, epochs=10, step=812,
        steps=2500, samples=51968, samples_per_epoch=16000, tokens=7, batch_size=64, phase="train",
        memory_peak_bytes=9_000_000_000, budget_usd=20, status="preempted", continues="w0.jsonl",
        job="4711_2", launcher="slurm", attempt=0,
    )  # fmt: skip
    assert isinstance(line, Line)
    assert (line.ts, line.mono, line.lock, line.pid, line.pidns) == (1_700_000_000.5, 81.2, True, 71, 9)
    assert line.continues == "w0.jsonl"
    assert line.event(5.0, "w", line.run, None) == TrainingEvent(
        kind=EventKind.END, t=5.0, run=line.run, writer="w", experiment="char-lm", framework="torch", pid=71, rank=0,
        local_rank=0, node_rank=0, nodes=1, world=8, gpus=("GPU-a", "1"), unit="epoch", epoch=3.25, epochs=10.0,
        step=812, steps=2500, samples=51968, samples_per_epoch=16000, tokens=7, batch_size=64, phase=Phase.TRAIN,
        memory_peak_bytes=9_000_000_000, budget_usd=20.0, status=EndStatus.PREEMPTED, job="4711_2",
        launcher="slurm", attempt=0,
    )  # fmt: skip


def test_a_guess_is_retracted_by_a_line_of_its_own():
    assert event(ev="retract").kind is EventKind.RETRACT


def test_metrics_are_finite_numbers_under_clean_names_and_null_removes_one():
    metrics = event(metrics={"loss": -0.31, "steps": 7, "acc": None}).metrics
    assert metrics == (("loss", -0.31), ("steps", 7.0), ("acc", None))
    names = [name for name, _ in event(metrics={"a\nb": 1, "x" * 99: 2, "val/loss": 3, "\ud800": 4}).metrics or ()]
    assert all(name.isprintable() and len(name) <= 60 for name in names)
    assert len(set(names)) == 4
    assert names[2] == "val/loss"
    assert event(metrics={}).metrics == ()


def test_null_and_unknown_keys_are_ignored():
    assert event(epoch=None, gpus=None, colour="blue") == event()
    assert event(gpus=[]).gpus == ()


@pytest.mark.parametrize(
    ("keys", "key_named"),
    [
        ({"epoch": -1}, "epoch"),
        ({"epoch": "3"}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"epoch": 10**400}, "epoch"),
        ({"epochs": -0.5}, "epochs"),
        ({"step": 1.0}, "step"),
        ({"step": -1}, "step"),
        ({"step": 2**63}, "step"),
        ({"samples": "many"}, "samples"),
        ({"batch_size": 0}, "batch_size"),
        ({"world": 0}, "world"),
        ({"budget_usd": -1}, "budget_usd"),
        ({"memory_peak_bytes": -1}, "memory_peak_bytes"),
        ({"phase": "lunch"}, "phase"),
        ({"status": "lost"}, "status"),
        ({"status": 7}, "status"),
        ({"ev": "gone"}, "ev"),
        ({"ev": None}, "ev"),
        ({"ev": ["start"]}, "ev"),
        ({"ev": "epoch_end"}, "epoch"),
        ({"ev": "epoch_end", "epoch": 1.5}, "epoch"),
        ({"run": ""}, "run"),
        ({"run": 7}, "run"),
        ({"run": None}, "run"),
        ({"ts": None}, "ts"),
        ({"ts": "now"}, "ts"),
        ({"ts": -1}, "ts"),
        ({"ts": 1_700_000_000_500}, "ts"),  # milliseconds
        ({"mono": -1}, "mono"),
        ({"gpus": "0,1"}, "gpus"),
        ({"gpus": [1.5]}, "gpus"),
        ({"gpus": list(range(2000))}, "gpus"),
        ({"experiment": 5}, "experiment"),
        ({"team": ["vision"]}, "team"),
        ({"lock": 1}, "lock"),
        ({"pid": 0}, "pid"),
        ({"job": 4711}, "job"),
        ({"launcher": ["slurm"]}, "launcher"),
        ({"attempt": -1}, "attempt"),
        ({"attempt": "2"}, "attempt"),
        ({"attempt": 1.5}, "attempt"),
        ({"continues": "../x"}, "continues"),
        ({"v": None}, "v"),
        ({"v": "1"}, "v"),
        ({"v": True}, "v"),
        ({"metrics": [0.5]}, "metrics"),
        ({"metrics": 0.5}, "metrics"),
        ({"metrics": {"loss": "0.5"}}, "metrics"),
        ({"metrics": {"loss": True}}, "metrics"),
        ({"metrics": {"loss": [0.5]}}, "metrics"),
        ({"metrics": {"loss": 10**400}}, "metrics"),
        ({"metrics": {"": 0.5}}, "metrics"),
        ({"metrics": {f"m{n}": 1 for n in range(65)}}, "metrics"),
    ],
)
def test_a_line_with_an_impossible_value_is_malformed_and_the_key_is_named(keys: dict[str, Any], key_named: str):
    rejected = parsed(**keys)
    assert isinstance(rejected, Rejected)
    assert rejected.result == "malformed"
    assert rejected.reason.startswith(f"{key_named}:")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000])
def test_a_value_that_is_not_a_number_is_malformed(number: str):
    rejected = parse_line(b'{"v":1,"ev":"progress","ts":1,"run":"r","epoch":' + number.encode() + b"}")
    assert isinstance(rejected, Rejected)
    assert rejected.result == "malformed"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"\x00\xff\xfe binary",
        b"{}",
        b"[" * 60000,
        b'{"a":' * 10000,
        json.dumps(LEAST).encode("utf-16"),
        b'{"v":1,"ev":"progress","ts":1,"run":"r"} {"v":1}',
    ],
)
def test_a_line_that_is_not_an_event_is_malformed(raw: bytes):
    rejected = parse_line(raw)
    assert isinstance(rejected, Rejected)
    assert rejected.result == "malformed"


@pytest.mark.parametrize("version", [0, 2, 10**30])
def test_another_version_is_counted_separately(version: int):
    rejected = parsed(v=version, ev="something new")
    assert isinstance(rejected, Rejected)
    assert rejected.result == "unknown_version"


def test_a_line_beyond_the_limit_is_too_long():
    free_bytes = MAX_LINE_BYTES - len(json.dumps({**LEAST, "x": ""}))
    assert isinstance(parsed(x="a" * free_bytes), Line)
    rejected = parsed(x="a" * (free_bytes + 1))
    assert isinstance(rejected, Rejected)
    assert rejected.result == "too_long"


def test_of_a_key_given_twice_the_last_counts():
    line = parse_line(b'{"v":1,"ev":"progress","ts":1,"run":"r","epoch":1,"epoch":2}')
    assert isinstance(line, Line)
    assert line.figures["epoch"] == 2


@pytest.mark.parametrize(
    ("raw_id", "expected"),
    [
        ("job-1", "job-1"),
        ("a/b/c", "a_b_c-"),
        ("two\nlines", "two_lines-"),
        ("../../etc/passwd", "_._.._etc_passwd-"),
        (".hidden", "_hidden-"),
        ("x" * 121, "x" * 100 + "-"),
        ("zażółć", "za____-"),
        ("\ud800", "_-"),
        ('quote"and\\', "quote_and_-"),
    ],
)
def test_a_run_id_is_made_safe_for_labels_and_files(raw_id: str, expected: str):
    run = event(run=raw_id).run
    assert run == raw_id if raw_id == expected else run[:-12] == expected
    assert "/" not in run
    assert "\n" not in run
    assert len(run) <= 120
    assert run.isascii()


def test_labels_are_printable_and_short():
    assert event(experiment="größe 7").experiment == "größe 7"
    assert event(experiment="").experiment == ""
    parsed_event = event(experiment="a\nb\ud800" + "c" * 200).experiment
    assert parsed_event is not None
    assert parsed_event.startswith("a_b_ccc")
    assert len(parsed_event) <= 120
    assert parsed_event.isprintable()


@given(st.text(), st.text())
def test_labels_stay_different(one: str, other: str):
    assert (safe_text(one) == safe_text(other)) == (one == other)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_rejected(raw: bytes):
    assert isinstance(parse_line(raw), Line | Rejected)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    *("v", "ev", "ts", "mono", "run", "experiment", "framework", "unit", "pid", "pidns", "lock", "continues", "rank"),
    *("local_rank", "node_rank", "nodes", "world", "gpus", "epoch", "epochs", "step", "steps", "samples", "tokens"),
    *("samples_per_epoch", "batch_size", "phase", "memory_peak_bytes", "budget_usd", "status"),
]


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_values_give_a_valid_event_or_a_reason(keys: dict[str, Any]):
    line = parse_line(json.dumps({**LEAST, **keys}).encode())
    if isinstance(line, Rejected):
        assert line.result in ("malformed", "unknown_version")
        assert line.reason
        assert line.reason.isprintable()
        return
    parsed_event = line.event(line.ts, "w", line.run, None)
    for name in ("epoch", "epochs", "budget_usd"):
        value = getattr(parsed_event, name)
        assert value is None or 0 <= value <= 1e12
    for name in ("step", "steps", "samples", "tokens", "memory_peak_bytes"):
        value = getattr(parsed_event, name)
        assert value is None or (type(value) is int and 0 <= value < 2**63)
    parsed_event.run.encode("ascii")
