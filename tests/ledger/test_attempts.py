"""Consecutive attempts, last events, integer positions: each epoch once, and none invented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, last_epoch_usd, ledger, play, run_cost, seconds

from epochcost.ledger import Ledger
from epochcost.ledger.epochs import Epochs
from epochcost.ledger.finished_epoch import Epoch
from epochcost.model import RunId, State, TrainingEvent

TRAIN: dict[str, Any] = {"phase": "train", "epoch": 0}


def ledger_after(*events: TrainingEvent, until: float = 200) -> Ledger:
    it = ledger()
    play(it, until, list(events), gpus(1.0))
    return it


def epochs(it: Ledger) -> Epochs:
    return it.runs[RunId("r")].epochs


def attempt(at: float, first: int, last: int, status: str, **start: Any) -> list[TrainingEvent]:
    """Epochs of 10 s and 5 steps each, in a file of its own."""
    w = f"{at}.jsonl"
    events = [event("start", at, writer=w, **start), event("phase", at, writer=w, phase="train", epoch=first)]
    ends = [
        event("epoch_end", at + 10 * n, writer=w, epoch=first + n, step=5 * (first + n))
        for n in range(1, last - first + 1)
    ]
    if first:
        events.insert(1, event("resume", at, writer=w, epoch=first, step=5 * first))
    return [*events, *ends, event("end", at + 10 * (last - first), writer=w, status=status)]


def test_a_training_under_the_same_id_after_one_that_finished_is_new_work() -> None:
    it = ledger_after(*attempt(0, 0, 3, "finished", epochs=3), *attempt(40, 0, 3, "finished", epochs=3))
    assert State.REPLAY not in seconds(it)
    assert (epochs(it).executed, epochs(it).lost, epochs(it).high_water, epochs(it).position) == (6, 0, 6, 6)
    assert (epochs(it).count, epochs(it).seconds_sum) == (6, 60)
    assert [e.number for e in epochs(it).finished] == [1, 2, 3, 4, 5, 6]
    assert epochs(it).planned(3) == 6
    assert epochs(it).steps.executed == 30
    assert it.runs[RunId("r")].counted.start == 0


def test_a_finished_training_that_is_extended_continues_counting() -> None:
    it = ledger_after(*attempt(0, 0, 3, "finished", epochs=3), *attempt(40, 3, 5, "finished", epochs=5))
    assert (epochs(it).executed, epochs(it).lost, epochs(it).high_water) == (5, 0, 5)
    assert epochs(it).planned(5) == 5
    assert epochs(it).steps.executed == 25


def test_one_extended_from_a_checkpoint_before_its_end_has_lost_nothing() -> None:
    it = ledger_after(*attempt(0, 0, 3, "finished"), *attempt(40, 2, 4, "finished", epochs=4))
    assert State.REPLAY not in seconds(it)
    assert (epochs(it).executed, epochs(it).lost, epochs(it).position) == (5, 0, 5)
    assert epochs(it).planned(4) == 5


@pytest.mark.parametrize("status", ["failed", "preempted"])
def test_repeated_work_after_an_unfinished_attempt_is_replay(status: str) -> None:
    it = ledger_after(*attempt(0, 0, 3, status), *attempt(40, 1, 4, "finished"))
    assert (epochs(it).executed, epochs(it).lost, epochs(it).high_water) == (6, 2, 4)
    assert seconds(it)[State.REPLAY] == pytest.approx(20)


def test_repeated_work_after_a_killed_attempt_is_replay() -> None:
    died = [*attempt(0, 0, 3, "failed")[:-1], event("gone", 30, writer="0.jsonl")]
    it = ledger_after(*died, *attempt(40, 1, 4, "finished"))
    assert (epochs(it).executed, epochs(it).lost) == (6, 2)


def test_three_consecutive_trainings_under_one_id() -> None:
    it = ledger_after(*(e for at in (0, 30, 60) for e in attempt(at, 0, 2, "finished", epochs=2)))
    assert (epochs(it).executed, epochs(it).lost, epochs(it).position, epochs(it).planned(2)) == (6, 0, 6, 6)


def test_the_position_in_the_last_events_counts() -> None:
    it = ledger_after(
        event("start", 0, batch_size=4),
        event("phase", 1, **TRAIN),
        event("end", 1.8, epoch=0.9, step=900, samples=3600, tokens=7),
    )
    e = epochs(it)
    assert (e.executed, e.steps.executed, e.samples.executed, e.tokens.executed) == (0.9, 900, 3600, 7)
    assert seconds(it)[State.STARTUP] == pytest.approx(1)


def test_an_early_stop_right_after_an_epoch_has_finished_that_epoch() -> None:
    events = [event("progress", 1 + t, epoch=t / 10, step=t) for t in (7, 14, 21)]
    it = ledger_after(event("start", 0), event("phase", 1, **TRAIN), *events, event("end", 31, epoch=3.0, step=30))
    assert epochs(it).executed == 3
    assert epochs(it).count == 3
    assert epochs(it).seconds_sum == pytest.approx(30)


def test_the_last_events_of_an_ended_or_unknown_process_do_not_count() -> None:
    events = [event("start", 0), event("phase", 1, **TRAIN), event("end", 5, epoch=1.0), event("end", 6, epoch=9.0)]
    assert epochs(ledger_after(*events)).executed == 1
    it = ledger()
    assert it.apply(event("end", 5, epoch=3.0)) == "ignored"


def at_boundary(t: float, position: float) -> TrainingEvent:
    return event("progress", t, epoch=position, step=round(position * 4))


def test_whole_positions_end_epochs_where_nothing_else_does() -> None:
    events = [at_boundary(2 + 5 * n, n / 4) for n in range(2, 13)]
    first = event("phase", 7, phase="train", epoch=0.25, step=1)
    it = ledger_after(event("start", 2), first, *events, event("end", 64, epoch=3.0, step=12))
    assert epochs(it).executed == 3
    assert epochs(it).finished == [
        Epoch(1.0, T0 + 2, T0 + 22, 1), Epoch(2.0, T0 + 22, T0 + 42, 1), Epoch(3.0, T0 + 42, T0 + 62, 1)
    ]  # fmt: skip
    assert last_epoch_usd(it) == pytest.approx(0.020, abs=1e-12)


def test_a_loop_whose_every_report_is_a_whole_epoch_has_a_cost_for_each() -> None:
    events = [event("progress", 10 * n, epoch=n) for n in range(1, 4)]
    it = ledger_after(event("start", 0), event("phase", 0, **TRAIN), *events, event("end", 33, epoch=3.0))
    assert [(e.number, e.end - e.start) for e in epochs(it).finished] == [(1, 10), (2, 10), (3, 10)]
    assert run_cost(it) == pytest.approx(0.033, abs=1e-12)


def test_a_loop_whose_first_event_is_a_finished_epoch_has_a_cost_for_that_one_too() -> None:
    events = [event("progress", 10 * n, epoch=n) for n in range(1, 4)]
    events.insert(1, event("phase", 10, phase="train", epoch=1))
    it = ledger_after(event("start", 0), *events, event("end", 33, epoch=3.0))
    assert [(e.number, e.end - e.start) for e in epochs(it).finished] == [(1, 10), (2, 10), (3, 10)]
    assert epochs(it).executed == 3


def test_if_the_first_event_follows_work_the_first_epoch_began_with_the_reported_start() -> None:
    events = [event("progress", 10 * n, epoch=n / 2, step=n) for n in range(1, 5)]
    it = ledger_after(event("start", 0), *events, event("end", 41, epoch=2.0, step=4))
    assert [(e.start - T0, e.end - T0) for e in epochs(it).finished] == [(0, 20), (20, 40)]
    it = ledger_after(*events, event("end", 41, epoch=2.0, step=4))  # the agent's first event of it is from its middle
    assert [(e.start - T0, e.end - T0) for e in epochs(it).finished] == [(20, 40)]
    again = [
        event("start", 50, writer="b"),
        event("progress", 60, epoch=2.5, writer="b"),
        event("progress", 70, epoch=3.5, writer="b"),
    ]
    it = ledger_after(event("start", 0), *events, event("end", 41, status="failed"), *again)
    assert epochs(it).count == 2  # where this one began is not known


def test_an_evaluation_after_the_last_step_belongs_to_the_epoch_that_ends_later() -> None:
    evaluation = [event("phase", 10, phase="eval"), event("phase", 15, phase="train")]
    first = [at_boundary(10, 1.0), *evaluation, event("epoch_end", 16, epoch=1, step=4)]
    events = [*first, at_boundary(26, 2.0), event("epoch_end", 30, epoch=2, step=8)]
    it = ledger_after(event("start", 0), event("phase", 0, **TRAIN), *events)
    assert [(e.number, e.start - T0, e.end - T0) for e in epochs(it).finished] == [(1, 0, 16), (2, 16, 30)]


def test_an_end_reported_after_the_next_epoch_has_begun_counts_once() -> None:
    events = [
        at_boundary(10, 1.0),
        at_boundary(12, 1.25),
        event("epoch_end", 13, epoch=1),
        event("epoch_end", 20, epoch=2),
    ]
    it = ledger_after(event("start", 0), event("phase", 0, **TRAIN), *events)
    assert [(e.number, e.start - T0, e.end - T0) for e in epochs(it).finished] == [(1, 0, 10), (2, 10, 20)]


def test_a_training_of_one_long_epoch_has_its_cost_at_the_end() -> None:
    events = [event("progress", 10 * n, epoch=n / 10, step=n) for n in range(1, 10)]
    it = ledger_after(event("start", 0), event("phase", 0, **TRAIN), *events, event("end", 100, epoch=1.0, step=10))
    assert epochs(it).finished == [Epoch(1.0, T0, T0 + 100, 1)]


def test_a_run_that_starts_at_an_epoch_has_not_done_earlier_ones() -> None:
    it = ledger_after(event("start", 0), event("phase", 0, phase="train", epoch=1), event("epoch_end", 10, epoch=2))
    assert (epochs(it).executed, it.runs[RunId("r")].counted.start) == (1, 1)


def test_a_process_restarted_before_its_death_is_noticed_has_its_lost_work() -> None:
    first = [event("start", 0, rank=0, world=2), event("phase", 0, **TRAIN), event("progress", 64, epoch=6.4, step=64)]
    again = [
        event("start", 70.2, writer="b", rank=0, world=2),
        event("resume", 70.4, writer="b", epoch=5, step=50),
        event("phase", 70.4, writer="b", phase="train", epoch=5),
        event("gone", 71),
        event("progress", 71.4, writer="b", epoch=5.1, step=51),
        event("epoch_end", 100.4, writer="b", epoch=8, step=80),
    ]
    it = ledger_after(*first, *again)
    assert epochs(it).lost == pytest.approx(1.4)
    assert epochs(it).executed == pytest.approx(6.4 + 3)
    assert epochs(it).steps.executed == 64 + 30
    assert epochs(it).attempts == 2
    assert it.runs[RunId("r")].counted.leads


def test_the_death_of_one_of_two_parallel_processes_begins_no_attempt() -> None:
    events = [event("start", 0), event("start", 1, writer="b"), event("phase", 2, **TRAIN),
            event("progress", 20, epoch=2.0), event("progress", 20, writer="b", epoch=2.0), event("gone", 25),
            event("progress", 30, writer="b", epoch=3.0)]  # fmt: skip
    it = ledger_after(*events)
    assert (epochs(it).attempts, epochs(it).executed, epochs(it).lost) == (1, 3, 0)


def test_the_last_events_of_an_unfollowed_process_retract_nothing() -> None:
    launcher = [
        event("start", 0, writer="exec"),
        event("phase", 1, phase="train", epoch=0, writer="exec"),
        event("start", 2),
        event("start", 2.1, writer="exec2"),
        event("end", 2.2, status="finished", writer="exec"),
    ]
    trains = [event("phase", 3, **TRAIN), *(event("epoch_end", 3 + 10 * n, epoch=n) for n in (1, 2, 3))]
    ends = [
        event("end", 33, epoch=3.0, status="finished"),
        event("end", 40, epoch=0.004, status="failed", writer="exec2"),
    ]
    it = ledger_after(*launcher, *trains, *ends)
    assert (epochs(it).executed, epochs(it).lost, epochs(it).position) == (3, 0, 3)
    assert [e.number for e in epochs(it).finished] == [1, 2, 3]


def test_an_attempt_whose_phase_has_its_position_loses_no_step() -> None:
    it = ledger()
    first = [event("start", 0), event("phase", 0, phase="train", epoch=0, steps=10)]
    first += [event("progress", 1 + t, epoch=(t + 1) / 10, step=t + 1, samples=4 * (t + 1)) for t in range(10)]
    first.append(event("end", 12, status="failed", epoch=1, step=10, samples=40))
    again = [event("start", 20, writer="again"), event("phase", 21, writer="again", phase="train", epoch=1, step=10)]
    again += [
        event("progress", 22 + t, writer="again", epoch=1 + (t + 1) / 10, step=11 + t, samples=44 + 4 * t)
        for t in range(9)
    ]
    play(it, 40, [*first, *again], gpus(1.0))
    assert epochs(it).steps.executed == 19


def over(it: Ledger) -> tuple[float, float] | None:
    """Position and time (s) of the newest training that finished here."""
    finished = it.runs[RunId("r")].finished
    return None if finished is None else (finished.position, finished.t - T0)


@pytest.mark.parametrize("status", ["failed", "preempted"])
def test_a_training_is_over_where_it_finished_and_not_where_it_was_cut_short(status: str) -> None:
    assert over(ledger_after(*attempt(0, 0, 3, "finished"))) == (3, 30)
    assert over(ledger_after(*attempt(0, 0, 3, status))) is None
    both = ledger_after(*attempt(0, 0, 3, "finished"), *attempt(40, 0, 2, status))
    assert over(both) == (3, 30)
    assert epochs(both).before_this_training == 3


def test_a_training_is_over_once_all_its_processes_are_and_where_rank_0_was() -> None:
    world: dict[str, Any] = {"world": 2, "nodes": 1}
    ranks = [event("start", 0, writer=f"{rank}", rank=rank, **world) for rank in (0, 1)]
    events = [*ranks, event("phase", 1, writer="0", **TRAIN), event("epoch_end", 11, writer="0", epoch=1)]
    ends = [event("end", 12 + rank, writer=f"{rank}", status="finished") for rank in (0, 1)]
    assert over(ledger_after(*events, ends[0])) is None
    assert over(ledger_after(*events, *ends)) == (1, 13)
    elsewhere = [event("start", 0, rank=1, **world), event("phase", 1, **TRAIN), event("epoch_end", 11, epoch=1)]
    assert over(ledger_after(*elsewhere, event("end", 12, status="finished"))) is None


def test_the_end_of_a_training_survives_the_agent() -> None:
    it = ledger_after(*attempt(0, 0, 3, "finished"))
    state = json.loads(json.dumps(it.state()))
    assert over(Ledger.restored(state)) == (3, 30)
    del state["runs"]["r"]["finished"]  # as written by an older agent
    assert over(Ledger.restored(state)) is None


def test_positions_of_others_before_a_training_finished_here_do_not_count_after_it() -> None:
    it = ledger_after(*attempt(0, 0, 3, "finished"), event("start", 40, writer="b"), until=41)
    part = it.runs[RunId("r")].part
    for known_since, position in ((None, 0), (T0 + 10, 0), (T0 + 30, 2)):
        it.reached_elsewhere(RunId("r"), part, 2.0, known_since)
        assert epochs(it).elsewhere == position
    rest = [event("phase", 41, writer="b", **TRAIN), event("progress", 42, writer="b", epoch=0.1, step=1)]
    play(it, 61, rest, gpus(1.0))
    assert seconds(it)[State.REPLAY] == pytest.approx(20)


def ranks_of_one_world(late: float, ends: tuple[float, float], at: float = 0, first: int = 0) -> list[TrainingEvent]:
    """Two processes of one machine that report the same three epochs; rank 0 starts ``late`` seconds after rank 1."""
    events = []
    for rank, start in ((1, at), (0, at + late)):
        w = f"{at}-{rank}"
        events += [event("start", start, writer=w, rank=rank, world=2, nodes=1)]
        events += [event("resume", start, writer=w, epoch=first, step=10 * first)] if first else []
        events += [event("phase", start, writer=w, phase="train", epoch=first)]
        events += [
            event("progress", at + 2 + n, writer=w, epoch=first + n / 10, step=10 * first + n)
            for n in range(30)
            if 2 + n > start - at
        ]
        events += [event("epoch_end", at + 12 + 10 * n + rank / 100, writer=w, epoch=first + 1 + n) for n in range(3)]
        events += [event("end", at + ends[rank], writer=w, epoch=first + 3, step=10 * (first + 3), status="finished")]
    return sorted(events, key=lambda one: one.t)


@pytest.mark.parametrize("ends", [(32.005, 32.02), (33, 34), (34, 33)])
@pytest.mark.parametrize("late", [0, 0.5, 5])
def test_reports_of_the_ranks_of_one_machine_count_once_by_rank_0(late: float, ends: tuple[float, float]):
    it = ledger_after(*ranks_of_one_world(late, ends))
    run = it.runs[RunId("r")]
    amounts = run.counted.amounts(run.epochs, run.phase_seconds)
    assert (amounts["executed"], amounts["lost"], amounts["steps"]) == (3, 0, 30)
    assert (run.counted.start, run.counted.high_water, run.retracted) == (0, 3, 0)
    assert [(epoch.end - T0, epoch.count) for epoch in epochs(it).finished] == [(12, 1), (22, 1), (32, 1)]
    assert over(it) == (3, pytest.approx(max(ends)))


@pytest.mark.parametrize("late", [0, 0.5, 5])
def test_the_next_attempt_of_both_ranks_counts_by_its_rank_0(late: float):
    first = [*attempt(0, 0, 2, "preempted", rank=0, world=2)]
    it = ledger_after(*first, *ranks_of_one_world(late, (32.005, 32.02), at=40, first=1))
    run = it.runs[RunId("r")]
    amounts = run.counted.amounts(run.epochs, run.phase_seconds)
    assert (amounts["executed"], amounts["lost"], epochs(it).attempts) == (pytest.approx(5), 1, 2)


def test_a_restarted_rank_0_retracts_nothing_of_the_previous_one() -> None:
    events = [one for one in ranks_of_one_world(0, (99, 99)) if one.t < T0 + 20]
    again = [event("gone", 20, writer="0-0"), event("start", 25, writer="c", rank=0, world=2, nodes=1)]
    it = ledger_after(*events, *again, until=26)
    assert epochs(it).executed == pytest.approx(1.7)
    assert it.runs[RunId("r")].counted.leads
