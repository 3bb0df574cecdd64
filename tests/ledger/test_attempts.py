"""What an attempt is after another, what its last words say, whole positions: each epoch once, and none invented."""

from __future__ import annotations

import pytest
from tests.ledger.story import T0, event, gpus, last_epoch_usd, ledger, run_cost, seconds, tell

from epochcost.ledger import Ledger
from epochcost.ledger.epochs import Epoch, Epochs
from epochcost.model import RunId, State, TrainingEvent

TRAIN = {"phase": "train", "epoch": 0}


def story(*events: TrainingEvent, until: float = 200) -> Ledger:
    it = ledger()
    tell(it, until, list(events), gpus(1.0))
    return it


def epochs(it: Ledger) -> Epochs:
    return it.runs[RunId("r")].epochs


def attempt(at: float, first: int, last: int, status: str, **start: object) -> list[TrainingEvent]:
    """Epochs of 10 s and 5 steps each, in a file of its own."""
    w = f"{at}.jsonl"
    said = [event("start", at, writer=w, **start), event("phase", at, writer=w, phase="train", epoch=first)]
    ends = [
        event("epoch_end", at + 10 * n, writer=w, epoch=first + n, step=5 * (first + n))
        for n in range(1, last - first + 1)
    ]
    if first:
        said.insert(1, event("resume", at, writer=w, epoch=first, step=5 * first))
    return [*said, *ends, event("end", at + 10 * (last - first), writer=w, status=status)]


def test_a_training_under_the_same_id_after_one_that_finished_is_new_work() -> None:
    it = story(*attempt(0, 0, 3, "finished", epochs=3), *attempt(40, 0, 3, "finished", epochs=3))
    assert State.REPLAY not in seconds(it)
    assert (epochs(it).executed, epochs(it).lost, epochs(it).high_water, epochs(it).position) == (6, 0, 6, 6)
    assert (epochs(it).count, epochs(it).seconds_sum) == (6, 60)
    assert [e.number for e in epochs(it).finished] == [1, 2, 3, 4, 5, 6]
    assert epochs(it).planned(3) == 6
    assert epochs(it).steps.executed == 30
    assert it.runs[RunId("r")].counted.start == 0


def test_a_training_that_finished_and_is_made_longer_counts_on() -> None:
    it = story(*attempt(0, 0, 3, "finished", epochs=3), *attempt(40, 3, 5, "finished", epochs=5))
    assert (epochs(it).executed, epochs(it).lost, epochs(it).high_water) == (5, 0, 5)
    assert epochs(it).planned(5) == 5
    assert epochs(it).steps.executed == 25


def test_one_made_longer_from_a_checkpoint_before_its_end_has_lost_nothing() -> None:
    it = story(*attempt(0, 0, 3, "finished"), *attempt(40, 2, 4, "finished", epochs=4))
    assert State.REPLAY not in seconds(it)
    assert (epochs(it).executed, epochs(it).lost, epochs(it).position) == (5, 0, 5)
    assert epochs(it).planned(4) == 5


@pytest.mark.parametrize("status", ["failed", "preempted"])
def test_after_an_attempt_that_did_not_finish_what_is_done_again_is_replay(status: str) -> None:
    it = story(*attempt(0, 0, 3, status), *attempt(40, 1, 4, "finished"))
    assert (epochs(it).executed, epochs(it).lost, epochs(it).high_water) == (6, 2, 4)
    assert seconds(it)[State.REPLAY] == pytest.approx(20)


def test_after_an_attempt_that_died_without_a_word_too() -> None:
    died = [*attempt(0, 0, 3, "failed")[:-1], event("gone", 30, writer="0.jsonl")]
    it = story(*died, *attempt(40, 1, 4, "finished"))
    assert (epochs(it).executed, epochs(it).lost) == (6, 2)


def test_three_trainings_one_after_the_other_under_one_id() -> None:
    it = story(*(e for at in (0, 30, 60) for e in attempt(at, 0, 2, "finished", epochs=2)))
    assert (epochs(it).executed, epochs(it).lost, epochs(it).position, epochs(it).planned(2)) == (6, 0, 6, 6)


def test_the_position_in_the_last_words_counts() -> None:
    it = story(
        event("start", 0, batch_size=4),
        event("phase", 1, **TRAIN),
        event("end", 1.8, epoch=0.9, step=900, samples=3600, tokens=7),
    )
    e = epochs(it)
    assert (e.executed, e.steps.executed, e.samples.executed, e.tokens.executed) == (0.9, 900, 3600, 7)
    assert seconds(it)[State.STARTUP] == pytest.approx(1)


def test_an_early_stop_right_after_an_epoch_has_finished_that_epoch() -> None:
    told = [event("progress", 1 + t, epoch=t / 10, step=t) for t in (7, 14, 21)]
    it = story(event("start", 0), event("phase", 1, **TRAIN), *told, event("end", 31, epoch=3.0, step=30))
    assert epochs(it).executed == 3
    assert epochs(it).count == 3
    assert epochs(it).seconds_sum == pytest.approx(30)


def test_the_last_words_of_an_ended_or_unknown_process_count_nothing() -> None:
    told = [event("start", 0), event("phase", 1, **TRAIN), event("end", 5, epoch=1.0), event("end", 6, epoch=9.0)]
    assert epochs(story(*told)).executed == 1
    it = ledger()
    assert it.apply(event("end", 5, epoch=3.0)) == "ignored"


def whole(t: float, position: float) -> TrainingEvent:
    return event("progress", t, epoch=position, step=round(position * 4))


def test_whole_positions_end_epochs_where_nothing_else_does() -> None:
    told = [whole(2 + 5 * n, n / 4) for n in range(2, 13)]
    first = event("phase", 7, phase="train", epoch=0.25, step=1)
    it = story(event("start", 0), first, *told, event("end", 64, epoch=3.0, step=12))
    assert epochs(it).executed == 3
    assert epochs(it).finished == [
        Epoch(1.0, T0 + 7, T0 + 22, 1), Epoch(2.0, T0 + 22, T0 + 42, 1), Epoch(3.0, T0 + 42, T0 + 62, 1)
    ]  # fmt: skip
    assert last_epoch_usd(it) == pytest.approx(0.020, abs=1e-12)


def test_a_loop_whose_every_report_is_a_whole_epoch_has_a_cost_for_each() -> None:
    told = [event("progress", 10 * n, epoch=n) for n in range(1, 4)]
    it = story(event("start", 0), event("phase", 0, **TRAIN), *told, event("end", 33, epoch=3.0))
    assert [(e.number, e.end - e.start) for e in epochs(it).finished] == [(1, 10), (2, 10), (3, 10)]
    assert run_cost(it) == pytest.approx(0.033, abs=1e-12)


def test_an_evaluation_after_the_last_step_belongs_to_the_epoch_that_says_its_end_later() -> None:
    evaluation = [event("phase", 10, phase="eval"), event("phase", 15, phase="train")]
    first = [whole(10, 1.0), *evaluation, event("epoch_end", 16, epoch=1, step=4)]
    told = [*first, whole(26, 2.0), event("epoch_end", 30, epoch=2, step=8)]
    it = story(event("start", 0), event("phase", 0, **TRAIN), *told)
    assert [(e.number, e.start - T0, e.end - T0) for e in epochs(it).finished] == [(1, 0, 16), (2, 16, 30)]


def test_an_end_that_is_said_after_the_next_epoch_has_begun_counts_once() -> None:
    told = [whole(10, 1.0), whole(12, 1.25), event("epoch_end", 13, epoch=1), event("epoch_end", 20, epoch=2)]
    it = story(event("start", 0), event("phase", 0, **TRAIN), *told)
    assert [(e.number, e.start - T0, e.end - T0) for e in epochs(it).finished] == [(1, 0, 10), (2, 10, 20)]


def test_a_training_of_one_long_epoch_has_its_cost_at_the_end() -> None:
    told = [event("progress", 10 * n, epoch=n / 10, step=n) for n in range(1, 10)]
    it = story(event("start", 0), event("phase", 0, **TRAIN), *told, event("end", 100, epoch=1.0, step=10))
    assert epochs(it).finished == [Epoch(1.0, T0, T0 + 100, 1)]


def test_who_begins_at_an_epoch_has_not_done_those_before() -> None:
    it = story(event("start", 0), event("phase", 0, phase="train", epoch=1), event("epoch_end", 10, epoch=2))
    assert (epochs(it).executed, it.runs[RunId("r")].counted.start) == (1, 1)
