"""Loops over epochs and batches: as long as configured, counted once each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.training.programs import events, events_by_file
from tests.training.reporting import attempts, directory, of

import epochcost
from epochcost.training.loops import batches_in

__all__ = ["directory"]


@pytest.mark.parametrize(
    ("epochs", "numbers"),
    [("3", [0, 1, 2]), (" 2 ", [0, 1]), ("2.5", [0, 1, 2]), (1.5, [0, 1]), (True, [0]), (0, []), (-1, [])],
)
def test_valid_plans_are_accepted(directory: Path, epochs, numbers: list[int]):
    with epochcost.run("x", epochs=epochs) as run:
        assert list(run.epochs()) == numbers


@pytest.mark.parametrize("epochs", ["many", "", float("nan"), [3], object(), b"3x"])
def test_an_invalid_plan_raises_where_range_would(directory: Path, epochs):
    with epochcost.run("x", epochs=epochs) as run, pytest.raises((TypeError, ValueError)):
        run.epochs()


@pytest.mark.parametrize("epochs", [None, float("inf"), "inf"])
def test_no_plan_or_an_endless_one_continues_until_the_loop_breaks(directory: Path, epochs):
    with epochcost.run("x", epochs=epochs) as run:
        for epoch in run.epochs():
            if epoch == 20:
                break
    assert "epochs" not in events(directory)[-1]


@pytest.mark.parametrize(("start", "numbers"), [("1", [1, 2]), (2.0, [2]), (3, []), (True, [1, 2])])
def test_valid_starts_are_accepted(directory: Path, start, numbers: list[int]):
    with epochcost.run("x", epochs=3) as run:
        assert list(run.epochs(start=start)) == numbers


@pytest.mark.parametrize("start", ["one", 1.5, [1], float("nan")])
def test_an_invalid_start_raises_where_range_would(directory: Path, start):
    with epochcost.run("x", epochs=3) as run, pytest.raises((TypeError, ValueError)):
        run.epochs(start=start)


def test_a_second_stage_trains_as_long_as_the_first_and_the_run_continues_counting(directory: Path):
    with epochcost.run("x", epochs=2, batch_size=4) as run:
        values_seen = [(stage, epoch) for stage in "ab" for epoch in run.epochs() for _ in run.batches(range(5))]
    assert values_seen == [(stage, epoch) for stage in "ab" for epoch in (0, 1) for _ in range(5)]
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step", "samples") == [(1, 5, 20), (2, 10, 40), (3, 15, 60), (4, 20, 80)]
    assert of(lines, "end", "epochs", "status") == [(4, "finished")]


def test_a_stage_after_an_interrupted_one_is_not_repeated_work(directory: Path):
    with epochcost.run("x", epochs=3) as run:
        for epoch in run.epochs():
            for index, _ in enumerate(run.batches(range(10))):
                if epoch == 1 and index == 4:
                    break
            if epoch == 1:
                break
        positions = [run.epoch for _ in run.epochs()]
    assert positions == [2, 3, 4]


def test_a_loop_after_a_resume_begins_there_and_the_next_at_0_again(directory: Path):
    with epochcost.run("x", epochs=3) as run:
        run.resume(epoch=2)
        assert [list(run.epochs()), list(run.epochs())] == [[2], [0, 1, 2]]
    assert of(events(directory), "end", "epoch") == [(6,)]


def test_a_position_reported_within_a_loop_shortens_no_later_one(directory: Path):
    with epochcost.run("x", epochs=2) as run:
        for epoch in run.epochs():
            run.report(epoch=epoch + 0.5)
        assert list(run.epochs()) == [0, 1]


def test_a_resume_with_nothing_left_to_do_is_logged(directory: Path, caplog):
    with epochcost.run("x", epochs=3, id="all-done") as run:
        run.resume(epoch=3)
        assert list(run.epochs()) == []
    assert "run all-done has no epochs left: 3 of 3 are done" in caplog.text


@pytest.mark.parametrize("run_id", [False, True])
def test_a_run_restarted_after_it_finished_is_new_work(directory: Path, run_id: bool):
    run = epochcost.run("folds", epochs=2, id="folds" if run_id else None)
    for _ in range(3):
        with run:
            assert list(run.epochs()) == [0, 1]
    lines = attempts(directory)
    assert len({line[0]["run"] for line in lines}) == (1 if run_id else 3)
    ends = [epoch for line in lines for (epoch,) in of(line, "epoch_end", "epoch")]
    assert ends == ([1, 2, 3, 4, 5, 6] if run_id else [1, 2, 1, 2, 1, 2])


def test_a_run_restarted_after_it_failed_is_the_same_run(directory: Path):
    run = epochcost.run("x", epochs=2)
    for _ in range(2):
        with pytest.raises(RuntimeError), run:
            raise RuntimeError("out of memory")
    assert len({lines[0]["run"] for lines in attempts(directory)}) == 1


def test_the_same_run_entered_twice_ends_with_the_outer_with(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        with run:
            pass
        assert list(run.epochs()) == [0]
    assert [line["ev"] for line in events(directory)].count("end") == 1
    assert of(events(directory), "end", "epoch") == [(1,)]


def test_leaving_a_loop_by_break_counts_the_current_batch(directory: Path):
    with epochcost.run("x", epochs=5, batch_size=2) as run:
        for epoch in run.epochs():
            for index, _ in enumerate(run.batches(range(10))):
                if index == 3:
                    break
            if epoch == 1:
                break
    assert of(events(directory), "end", "step", "samples") == [(8, 16)]


def test_leaving_the_last_epoch_when_all_its_batches_are_done_ends_it_then(directory: Path):
    with epochcost.run("x", epochs=10) as run:
        for epoch in run.epochs():
            for _ in run.batches(range(4)):
                pass
            if epoch == 2:
                break
        run.phase("eval")
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step") == [(1, 4), (2, 8), (3, 12)]
    assert of(lines, "end", "epoch", "status") == [(3, "finished")]


def test_an_exception_in_a_body_finishes_neither_batch_nor_epoch(directory: Path):
    def train() -> None:
        with epochcost.run("x", epochs=2) as run:
            for _ in run.epochs():
                for batch in run.batches(range(4)):
                    if batch == 3:
                        raise ValueError("nan loss")

    with pytest.raises(ValueError, match="nan"):
        train()
    lines = events(directory)
    assert of(lines, "epoch_end") == []
    assert of(lines, "end", "epoch", "step", "status") == [(0.75, 3, "failed")]


@pytest.mark.parametrize("more", [0, 1])
def test_parallel_batches_are_counted_once(directory: Path, more: int):
    with epochcost.run("x", epochs=2, batch_size=2) as run:
        for _ in run.epochs():
            positions = [run.epoch for _ in zip(run.batches(range(10 + more)), run.batches(range(10)), strict=False)]
            assert len(positions) == 10
            assert positions == sorted(positions)  # type: ignore[type-var]
    assert of(events(directory), "end", "step", "epoch") == [(20, 2)]


def test_of_nested_loops_the_outer_one_is_counted(directory: Path):
    with epochcost.run("x", epochs=2) as run:
        for _ in run.epochs():
            for _ in run.batches(range(3)):
                list(run.batches(range(4)))
    assert of(events(directory), "epoch_end", "step", "steps") == [(3, 3), (6, 3)]


def test_a_second_loader_kept_over_epochs_is_not_counted(directory: Path):
    with epochcost.run("x", epochs=2) as run:
        unlabelled = iter(run.batches(range(1000)))
        for _ in run.epochs():
            for _ in run.batches(range(5)):
                next(unlabelled)
    assert of(events(directory), "end", "step") == [(10,)]


def test_an_abandoned_iterator_does_not_affect_later_epochs(directory: Path):
    with epochcost.run("x", epochs=2) as run:
        iterators: list[Iterator[int]] = []
        for _ in run.epochs():
            iterators.append(iter(run.batches(range(10))))
            next(iterators[-1])
            next(iterators[-1])
    assert of(events(directory), "epoch_end", "step") == [(1,), (2,)]


def test_several_batches_per_step_are_reported(directory: Path):
    with epochcost.run("x", epochs=2, batch_size=16) as run:
        for _ in run.epochs():
            positions = [run.epoch for _ in run.batches(range(10), accumulate=4)]
    assert positions == pytest.approx([1 + batch / 10 for batch in range(10)])
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step", "samples") == [(1, 2, 40), (2, 5, 80)]
    assert all("steps" not in line for line in lines)


class Loader(list):
    """The attributes of PyTorch's loaders."""

    def __init__(self, batches: int, batch_size: object) -> None:
        super().__init__(range(batches))
        self.batch_size = batch_size


def test_batches_that_are_smaller_than_a_step_are_several_of_one(directory: Path):
    """Micro-batches of 4 where a step takes 16 samples: 40 samples an epoch, not 160."""
    with epochcost.run("x", epochs=2, batch_size=16) as run:
        for _ in run.epochs():
            list(run.batches(Loader(10, 4)))
    assert of(events(directory), "epoch_end", "epoch", "step", "samples") == [(1, 2, 40), (2, 5, 80)]


class Wrapped:
    """As `tqdm` wraps a loader."""

    def __init__(self, iterable: Loader) -> None:
        self.iterable = iterable

    def __iter__(self) -> Iterator[int]:
        return iter(self.iterable)

    def __len__(self) -> int:
        return len(self.iterable)


class Sampled(list):
    """The attributes of PyTorch's loaders over a ``batch_sampler``."""

    batch_size = None
    batch_sampler = SimpleNamespace(batch_size=4)


@pytest.mark.parametrize("loader", [Wrapped(Loader(10, 4)), Sampled(range(10))], ids=["tqdm", "sampler"])
def test_the_batch_size_of_a_loader_is_found_in_other_attributes_too(directory: Path, loader: Any):
    with epochcost.run("x", epochs=2, batch_size=16) as run:
        for _ in run.epochs():
            list(run.batches(loader))
    assert of(events(directory), "epoch_end", "epoch", "step", "samples") == [(1, 2, 40), (2, 5, 80)]


def test_a_plain_list_of_micro_batches_is_detected_by_the_samples_of_an_epoch(directory: Path):
    with epochcost.run("x", epochs=2, batch_size=16, samples_per_epoch=40) as run:
        for _ in run.epochs():
            values_seen = [run.state_dict().get("samples", 0) for _ in run.batches(list(range(10)))]
    assert values_seen == [40 + 4 * batch for batch in range(10)]
    assert of(events(directory), "epoch_end", "epoch", "step", "samples") == [(1, 2, 40), (2, 5, 80)]


@pytest.mark.parametrize(
    ("size", "samples", "batches", "several"),
    [
        (256, 50_000, 782, 4),  # of 64, the last not full
        (256, 50_000, 781, 4),  # of 64, the last left out
        (64, 50_000, 782, 1),
        (16, 1000, 3, None),
        (5, 7, 2, None),
        (6, 12, 5, None),
    ],
)
def test_how_many_batches_make_a_step(size: int, samples: int, batches: int, several: int | None):
    assert batches_in(size, samples, batches) == several


def test_samples_of_an_epoch_are_no_more_than_it_has(directory: Path):
    with epochcost.run("x", epochs=1, batch_size=4, samples_per_epoch=18) as run:
        for _ in run.epochs():
            for _ in run.batches(range(5)):
                pass
            assert run.state_dict()["samples"] == 18  # the last batch is not full


@pytest.mark.parametrize(
    ("loader", "more"),
    [
        (Loader(4, 8), {}),  # a step is a batch
        (Loader(4, 16), {}),  # larger than a step: unknown
        (Loader(4, 3), {}),  # no whole number of batches
        (Loader(4, None), {}),
        (Loader(4, "4"), {}),
        (Loader(4, -4), {}),
        (Loader(4, True), {}),
        (Loader(4, 4), {"accumulate": 1}),  # configured otherwise
    ],
)
def test_nothing_is_derived_from_an_uneven_division(directory: Path, loader: Loader, more: dict[str, int]):
    with epochcost.run("x", epochs=1, batch_size=8) as run:
        for _ in run.epochs():
            list(run.batches(loader, **more))
    assert of(events(directory), "end", "step", "samples") == [(4, 32)]


def test_batches_of_several_ranks_make_a_step(directory: Path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with epochcost.run("x", epochs=1, batch_size=8) as run:
        for _ in run.epochs():
            list(run.batches(Loader(4, 4)))
    assert of(events(directory), "end", "step", "samples") == [(4, 32)]


def test_accumulated_batches_continue_within_an_epoch(directory: Path):
    with epochcost.run("x", epochs=2, batch_size=8) as run:
        run.resume(epoch=1.5, step=6)
        for _ in run.epochs():
            positions = [run.epoch for _ in run.batches([0] * 4, start=4, accumulate=2)]
    assert positions == [1.5, 1.625, 1.75, 1.875]
    assert of(events(directory), "end", "epoch", "step", "steps", "samples") == [(2, 8, 4, 64)]


@pytest.mark.parametrize("accumulate", [0, -1, "4", 1.5])
def test_an_invalid_accumulation_is_logged_and_each_batch_counts(directory: Path, accumulate):
    with epochcost.run("x", epochs=1) as run:
        for _ in run.epochs():
            list(run.batches(range(4), accumulate=accumulate))
    assert of(events(directory), "end", "step") == [(4,)]


def test_samples_continue_counting_after_a_checkpoint(directory: Path):
    with epochcost.run("x", epochs=1, batch_size=4) as run:
        for _ in run.epochs():
            list(run.batches(range(5)))
        state = run.state_dict()
    again = epochcost.run("x", epochs=3, batch_size=4)
    again.load_state_dict(state)
    with again:
        samples = [again.state_dict()["samples"] for _ in again.epochs() for _ in again.batches(range(5))]
    assert (samples[0], samples[-1]) == (20, 56)
    assert of(attempts(directory)[1], "epoch_end", "samples") == [(40,), (60,)]


def test_samples_counted_by_the_program_continue_too(directory: Path):
    with epochcost.run("x", id="r") as run:
        run.resume(epoch=1, step=5, samples=100)
        run.step(samples=7)
    assert of(events(directory), "end", "samples") == [(107,)]


def test_files_of_every_kind_of_loop_can_be_read(directory: Path):
    """Every line is whole JSON, whatever was left in the middle of what."""
    for code in (range(0), range(1), iter(())):
        with epochcost.run("x", epochs=2) as run:
            for _ in run.epochs():
                for _ in run.batches(code):
                    break
    assert all(lines[-1]["status"] == "finished" for lines in events_by_file(directory).values())
