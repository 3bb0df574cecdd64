"""What a program logs is reported with the next line: few names, finite numbers, and no delay."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.training.programs import events, train
from tests.training.reporting import attempts, directory

import epochcost
from epochcost.training import run as of_run
from epochcost.training import run_life
from epochcost.training.fit import Fit
from epochcost.training.fit_args import UserArgs
from epochcost.training.logged_metrics import LoggedMetrics

__all__ = ["directory"]


class Clock:
    """Seconds that pass only when the test advances them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (run_life, of_run):
            monkeypatch.setattr(module, "_monotonic", lambda: self.now)


def reported(directory: Path, kind: str = "") -> list[dict[str, float | None]]:
    lines = [line for attempt in attempts(directory) for line in attempt]
    return [line["metrics"] for line in lines if "metrics" in line and line["ev"] in (kind or line["ev"])]


def test_the_newest_of_each_name_goes_with_the_next_line(directory: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    run = epochcost.run("m", epochs=2)
    run.start()
    run.phase("train")
    run.step()
    for loss in (0.75, 0.5, 0.25):
        run.log(loss=loss)
    run.log({"val/acc": 1})
    assert reported(directory) == []
    clock.now += 1
    run.step()
    run.step()
    assert reported(directory) == [{"loss": 0.25, "val/acc": 1.0}]
    clock.now += 1
    run.step()  # nothing new, so nothing is repeated
    assert len(reported(directory)) == 1
    run.epoch_end()  # a boundary has all of it
    assert reported(directory, "epoch_end") == [{"loss": 0.25, "val/acc": 1.0}]


def test_a_program_that_only_logs_is_reported_every_five_seconds(directory: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    run = epochcost.run("m")
    run.start()
    run.phase("train")
    for loss in range(12):
        run.log(loss=loss)
        clock.now += 1
    assert reported(directory, "progress") == [{"loss": 5.0}, {"loss": 10.0}]
    assert all("epoch" not in line and "step" not in line for line in events(directory))  # it has no position


def test_a_slow_step_writes_its_own_line_whatever_was_logged_in_it(directory: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    with epochcost.run("m", epochs=1) as run:
        for _ in run.epochs():
            for batch in run.batches(range(3)):
                clock.now += 3
                run.log(loss=float(batch))
    lines = [(line.get("step"), line["metrics"]["loss"]) for line in events(directory) if line["ev"] == "progress"]
    assert lines == [(1, 0.0), (2, 1.0), (3, 2.0)]


def test_logging_does_not_end_the_start_up(directory: Path):
    with epochcost.run("m") as run:
        run.log(loss=2.5)
        assert [line["ev"] for line in events(directory)] == ["start"]
        run.phase("eval")
    assert reported(directory, "phase") == [{"loss": 2.5}]


def test_a_value_that_is_not_finite_removes_the_name(directory: Path):
    with epochcost.run("m") as run:
        run.log(loss=0.5, acc=0.25)
        run.phase("train")
        for value in (math.nan, math.inf, -math.inf):
            run.log(loss=value)
            run.phase("train")
        run.log(loss=0.125)
        run.phase("train")
    metrics = reported(directory, "phase")
    assert metrics == [{"loss": 0.5, "acc": 0.25}, *[{"loss": None, "acc": 0.25}] * 3, {"loss": 0.125, "acc": 0.25}]
    assert "NaN" not in "".join(path.read_text() for path in directory.glob("*.jsonl"))


class Scalar:
    """A number of another library, optionally on a device."""

    def __init__(self, value: float, device: str = "cpu") -> None:
        self.value, self.device, self.reads = value, device, 0

    def detach(self) -> Scalar:
        return self

    def item(self) -> float:
        self.reads += 1
        return self.value


def test_a_number_on_a_device_is_read_at_most_once_a_second_and_one_in_memory_always(directory: Path):
    with epochcost.run("m") as run:
        near = [Scalar(float(n)) for n in range(50)]
        far = [Scalar(float(n), "cuda:0") for n in range(50)]
        started_at = time.monotonic()
        for here, there in zip(near, far, strict=True):
            run.log(near=here, far=there)
        took = time.monotonic() - started_at
    assert [scalar.reads for scalar in near] == [1] * 50
    assert far[0].reads == 1
    assert sum(scalar.reads for scalar in far) <= 1 + took


class Untouchable(Scalar):
    """Reading its value or text would cause communication between processes, or wait for the device."""

    def detach(self) -> Scalar:
        raise AssertionError("touched")

    def __repr__(self) -> str:
        raise AssertionError("touched")


def test_values_that_would_cause_communication_or_wait_for_a_device_are_not_read(directory: Path, monkeypatch, caplog):
    monkeypatch.setattr("epochcost.training.warning._warned", set())
    spread = Untouchable(1.0)
    spread.device_mesh = object()  # type: ignore[attr-defined]
    with epochcost.run("m") as run:
        run.log(spread=spread, lazy=Untouchable(1.0, "xla:0"), empty=Untouchable(1.0, "meta"), loss=0.5)
    assert reported(directory) == [{"loss": 0.5}]
    assert "touched" not in caplog.text
    assert caplog.text.count("is not reported: ") == 3


@pytest.mark.parametrize("value", ["0.5", b"1", True, None, [1.0, 2.0], {"a": 1}, object(), 1j])
def test_a_value_that_is_not_a_number_logs_one_warning_and_is_not_reported(
    directory: Path, monkeypatch, caplog, value: Any
):
    monkeypatch.setattr("epochcost.training.warning._warned", set())
    with epochcost.run("m") as run:
        run.log(bad=value, good=1.5)
        run.log(bad=value)
    assert reported(directory) == [{"good": 1.5}]
    assert caplog.text.count("is not a number") == 1


def test_names_are_bounded_and_positions_are_not_metrics(directory: Path, monkeypatch, caplog):
    monkeypatch.setattr("epochcost.training.warning._warned", set())
    with epochcost.run("m") as run:
        odd: dict[Any, float] = {"": 1, "x" * 200: 1, 'quo"te:nan': 2, 5: 0.5}
        run.log({"epoch": 3, "step": 7, "samples": 1, **odd})
        run.log({f"m{n}": n for n in range(20)})
    (metrics,) = reported(directory)
    assert list(metrics) == ["x" * 60, 'quo"te:nan', "5", "m0", "m1", "m2", "m3", "m4"]
    assert caplog.text.count("first 8 names") == 1


@pytest.mark.parametrize("argument", [7, "loss", [("a", 1, 2)], object()])
def test_an_argument_that_is_not_a_mapping_is_harmless(directory: Path, argument: Any):
    with epochcost.run("m") as run:
        run.log(argument)
        run.log(loss=1.0)
    assert reported(directory) == [{"loss": 1.0}]


def test_metrics_logged_before_the_start_are_kept_and_after_the_end_are_not(directory: Path):
    run = epochcost.run("m", id="m")
    run.log(loss=1.0)
    with run:
        pass
    run.log(loss=2.0)
    with run:
        pass
    assert reported(directory) == [{"loss": 1.0}] * 2  # in the start and the end of the first attempt


def test_the_plain_function_logs_for_the_open_run(directory: Path):
    epochcost.start("m")
    epochcost.log(loss=0.5)
    epochcost.end()
    assert reported(directory) == [{"loss": 0.5}]


@pytest.mark.parametrize("word", ["0", "false", "off"])
def test_a_variable_disables_it(directory: Path, monkeypatch: pytest.MonkeyPatch, word: str):
    monkeypatch.setenv("EPOCHCOST_REPORT_METRICS", word)
    with epochcost.run("m") as run:
        run.log(loss=0.5)
    assert reported(directory) == []


def test_a_fit_reports_the_important_metrics_unless_disabled(directory: Path):
    logged = {
        "loss": 0.5,
        "learning_rate": 0.1,
        "epoch": 1.0,
        "train_runtime": 3.0,
        "samples_per_second": 9,
        "note": "x",
    }
    for report_metrics in (True, False):
        fit = Fit("frame", UserArgs(id=f"m{report_metrics}", report_metrics=report_metrics))
        fit.begin()
        fit.log(dict, logged)
        fit.log(lambda: None)
        fit.log(lambda: {"loss": 1 / 0})
        fit.end()
        fit.log(dict, {"loss": 9.0})
    assert reported(directory) == [{"loss": 0.5, "learning_rate": 0.1}]


def test_a_late_loss_is_still_reported():
    chosen = LoggedMetrics()
    first = {f"grad/{n}": 1.0 for n in range(9)} | {"loss": 1.0}
    assert list(chosen.chosen(first)) == ["grad/0", "grad/1", "grad/2", "grad/3", "loss"]
    assert list(chosen.chosen({"eval_loss": 2.0, "eval_accuracy": 1, "eval_f1": 1, "eval_ppl": 1, "grad/0": 2.0})) == [
        "eval_loss", "eval_accuracy", "eval_f1", "grad/0"
    ]  # fmt: skip


def test_what_is_no_single_number_is_not_chosen():
    def of_shape(*shape: object) -> object:
        return SimpleNamespace(shape=shape)

    given: dict[Any, Any] = {
        "a": of_shape(), "b": of_shape(1, 1), "c": of_shape(2), "d": SimpleNamespace(shape=7), "e": "0.5", "f": True,
        "g": None, "h": [1.0], "i": 0.5, 7: 1.0,
    }  # fmt: skip
    assert list(LoggedMetrics().chosen(given)) == ["a", "b", "i"]


def test_the_training_is_the_same_with_it(tmp_path: Path):
    program = """
    import random, sys, epochcost
    random.seed(4)
    weight = 0.0
    with epochcost.run("sum", epochs=3) as run:
        for epoch in run.epochs():
            for batch in run.batches(range(5)):
                weight += random.random()
                if len(sys.argv) > 1:
                    run.log(loss=weight, acc=random and 1.0)
    print(repr(weight))
    """
    plain, logged = train(program, tmp_path / "a"), train(program, tmp_path / "b", "log")
    assert (plain.code, plain.out, plain.err) == (logged.code, logged.out, logged.err)
    assert json.loads((next((tmp_path / "b").glob("*.jsonl"))).read_text().splitlines()[-1])["metrics"]["acc"] == 1.0
