"""Training runs without epochs, over an endless stream: an epoch is a given number of steps or tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.training.programs import events
from tests.training.reporting import attempts, directory, of

import epochcost
from epochcost.training.keras import KerasHooks
from epochcost.training.run import Run

__all__ = ["directory"]


def work(run: Run, steps: int, tokens: int | None = None) -> None:
    """Steps far apart: each is due its line."""
    for _ in range(steps):
        run._line_due_t = 0.0
        run.step(tokens=tokens)


def test_a_number_of_steps_is_an_epoch_and_a_number_of_epochs_the_plan(directory: Path):
    with epochcost.run("lm", epochs=3, nominal_epoch_steps=4) as run:
        work(run, 12)
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step")[:2] == [(1, 4), (2, 8)]
    assert of(lines, "epoch_end", "epoch")[-1] == (3,)
    assert [epoch for (epoch,) in of(lines, "progress", "epoch")] == [0.5, 0.75, 1.25, 1.5, 1.75, 2.25, 2.5, 2.75]
    assert of(lines, "end", "epoch", "epochs", "steps") == [(3, 3, 4)]


def test_a_number_of_tokens_is_an_epoch(directory: Path):
    with epochcost.run("lm", nominal_epoch_tokens=1000) as run:
        work(run, 5, tokens=300)
    assert of(events(directory), "end", "epoch", "step", "tokens") == [(1.5, 5, 1500)]


def test_the_last_nominal_epoch_ends_with_the_run_though_its_line_was_not_due(directory: Path):
    with epochcost.run("lm", nominal_epoch_steps=10) as run:
        run.step(10)
        run.step(10)
    assert of(events(directory), "epoch_end", "epoch", "step") == [(2, 20)]


def test_batches_of_a_loader_do_not_change_the_nominal_epoch(directory: Path):
    with epochcost.run("lm", nominal_epoch_steps=4) as run:
        for _ in range(2):
            list(run.batches(range(5)))
    assert of(events(directory), "end", "epoch", "step", "steps") == [(2.5, 10, 4)]


@pytest.mark.parametrize("measure", [{"nominal_epoch_steps": 10}, {"nominal_epoch_tokens": 1000}])
def test_a_checkpoint_restores_the_position(directory: Path, measure: dict[str, Any]):
    with epochcost.run("lm", id="r", **measure) as run:
        work(run, 25, tokens=100)
        state = run.state_dict()
    again = epochcost.run("lm", id="r", **measure)
    again.load_state_dict(state)
    with again:
        work(again, 5, tokens=100)
    _, second = attempts(directory)
    assert of(second, "resume", "epoch", "step", "tokens") == [(2.5, 25, 2500)]
    assert of(second, "end", "epoch", "step", "tokens") == [(3, 30, 3000)]


@pytest.mark.parametrize(
    ("measure", "position"),
    [({"nominal_epoch_steps": 10}, (2.5, 25, None)), ({"nominal_epoch_tokens": 1000}, (2.5, None, 2500))],
)
def test_resuming_at_an_epoch_reports_its_steps_or_tokens(directory: Path, measure: dict[str, int], position: tuple):
    with epochcost.run("lm", **measure) as run:  # type: ignore[arg-type]
        run.resume(epoch=2.5)
    assert of(events(directory), "resume", "epoch", "step", "tokens") == [position]


def test_reported_epochs_take_precedence(directory: Path):
    with epochcost.run("lm", epochs=2, nominal_epoch_steps=3) as run:
        for _ in run.epochs():
            for _ in run.batches(range(5)):
                pass
    assert of(events(directory), "epoch_end", "epoch", "step") == [(1, 5), (2, 10)]


def test_a_framework_whose_one_epoch_never_ends_has_nominal_ones(directory: Path):
    hooks = KerasHooks("lm", nominal_epoch_steps=4, epochs=2.5)
    hooks.params, hooks.model = {"steps": None, "epochs": 1}, None
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    for batch in range(10):
        hooks.on_train_batch_end(batch)
    hooks.on_epoch_end(0, {})
    hooks.on_train_end()
    assert of(events(directory), "end", "epoch", "epochs", "step", "status") == [(2.5, 2.5, 10, "finished")]
