"""The state of every second of every device."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.story import T0, dollars, event, gpus, ledger, play, run_cost, seconds

from epochcost.ledger import Device, Ledger
from epochcost.ledger.ledger import MAX_OPEN_RUNS
from epochcost.model import EndStatus, Phase, RunId, State

TRAIN: dict[str, Any] = {"phase": "train", "epoch": 0.0}


def steady(until: float, start: float = 0.0) -> list[Any]:
    """Progress each second."""
    return [event("progress", t, epoch=(t - start) / 100, step=int(t)) for t in range(int(start) + 1, int(until))]


def test_startup_lasts_until_the_train_phase_and_then_utilisation_splits_useful_from_idle() -> None:
    it = ledger()
    play(it, 30, [event("start", 0), event("phase", 5, **TRAIN), *steady(30, 10)], gpus(0.75))
    assert seconds(it) == pytest.approx({State.STARTUP: 5, State.USEFUL: 25 * 0.75, State.IDLE: 25 * 0.25})


def test_startup_lasts_until_the_first_step_where_steps_are_what_is_reported() -> None:
    for first in ([], [event("phase", 5, phase="train", epoch=0, steps=100)],
                  [event("phase", 5, **TRAIN), event("progress", 5, epoch=0, steps=100)]):  # fmt: skip
        it = ledger()
        play(it, 30, [event("start", 0), *first, *steady(30, 10)], gpus(0.75))
        assert seconds(it) == pytest.approx({State.STARTUP: 11, State.USEFUL: 19 * 0.75, State.IDLE: 19 * 0.25})


def test_the_first_epoch_of_a_run_that_reports_only_epochs_is_not_startup() -> None:
    it = ledger()
    ends = [event("epoch_end", 5 + 1000 * n, epoch=n) for n in (1, 2)]
    play(it, 2100, [event("start", 0), event("phase", 5, **TRAIN), *ends, event("end", 2005)], gpus(0.02))
    assert seconds(it)[State.STARTUP] == 5
    epochs = it.runs[RunId("r")].epochs
    assert (epochs.count, epochs.seconds_sum) == (2, 2000)  # so that start-up and epochs are the run


def test_a_run_with_only_a_start_event_is_working_after_two_busy_minutes_of_its_devices() -> None:
    it = ledger()
    play(it, 100, [event("start", 0, gpus=("0",))], gpus(0.15, 1.0))
    assert seconds(it)[State.STARTUP] == 50
    play(it, 300, [], gpus(0.5, 0.0))
    assert seconds(it) == pytest.approx(
        {State.STARTUP: 110, State.USEFUL: 20, State.IDLE: 20, State.UNALLOCATED: 150}
    )  # and the absence of further events is not a stall
    play(it, 400, [], gpus(0.0, 0.0))
    assert seconds(it)[State.STARTUP] == 110
    assert it.runs[RunId("r")].epochs.executed == 0


def test_work_already_done_on_another_machine_is_repeated_here() -> None:
    it = ledger()
    play(it, 5, [event("start", 0), event("resume", 5, phase="train", epoch=7)], gpus(1.0))
    part = it.runs[RunId("r")].part
    it.reached_elsewhere(RunId("r"), part, 9.1)  # by a machine that turned out to train in parallel
    it.reached_elsewhere(RunId("r"), part, 7.5)
    it.reached_elsewhere(RunId("r"), "another", 9)
    it.reached_elsewhere(RunId("unheard of"), part, 9)
    play(it, 30, [event("progress", 5 + n, epoch=7 + n / 20, step=n) for n in range(1, 26)], gpus(1.0))
    assert seconds(it) == pytest.approx({State.STARTUP: 6, State.REPLAY: 9, State.USEFUL: 15})
    restored_run = Ledger.restored(json.loads(json.dumps(it.state()))).runs[RunId("r")].epochs
    assert (restored_run.elsewhere, restored_run.lost) == (7.5, 0)


def test_a_run_without_progress_is_stalled_after_two_minutes_whatever_its_utilisation() -> None:
    it = ledger()
    play(it, 300, [event("start", 0), event("phase", 0, **TRAIN), *steady(11)], gpus(1.0))
    assert seconds(it) == pytest.approx({State.USEFUL: 130, State.STALLED: 170})


def test_slow_steps_are_not_stalled_before_five_of_them_are_missing() -> None:
    it = ledger()
    slow = [event("progress", 100 * k, step=k, epoch=k / 50) for k in range(1, 6)]
    play(it, 1100, [event("start", 0), event("phase", 0, **TRAIN), *slow], gpus(1.0))
    assert seconds(it)[State.STALLED] == pytest.approx(100)


def test_a_run_that_reports_only_finished_epochs_is_not_stalled_in_a_long_epoch() -> None:
    it = ledger()
    play(it, 4000, [event("start", 0), event("epoch_end", 3700, epoch=1)], gpus(1.0), every=5.0)
    assert State.STALLED not in seconds(it)


@pytest.mark.parametrize("phase", ["eval", "checkpoint", "restore"])
def test_evaluation_and_checkpoints_are_never_stalled(phase: str) -> None:
    it = ledger()
    events = [event("start", 0), event("phase", 0, **TRAIN), *steady(10), event("phase", 10, phase=phase)]
    play(it, 1000, [*events, event("phase", 900, phase="train")], gpus(1.0))
    assert State.STALLED not in seconds(it)


def test_a_run_that_waits_for_data_may_stall() -> None:
    it = ledger()
    events = [event("start", 0), event("phase", 0, **TRAIN), *steady(11), event("phase", 20, phase="data")]
    play(it, 300, events, gpus(0.0))
    assert seconds(it)[State.STALLED] == pytest.approx(300 - 20 - 120)
    assert it.runs[RunId("r")].phase_seconds[Phase.DATA] == pytest.approx(280)


def test_repeated_work_after_a_crash_is_replay_until_the_high_water_mark() -> None:
    it = ledger()
    first = [event("start", 0, epochs=10), event("phase", 0, **TRAIN), event("progress", 64, epoch=6.4, step=64)]
    gone = event("gone", 70)
    again = [
        event("start", 80, writer="second.jsonl"),
        event("resume", 82, writer="second.jsonl", epoch=5.0, step=50),
        event("phase", 82, writer="second.jsonl", phase="train", epoch=5.0),
        event("progress", 83, writer="second.jsonl", epoch=5.1, step=51),
        event("progress", 96, writer="second.jsonl", epoch=6.4, step=64),
        event("progress", 100, writer="second.jsonl", epoch=6.8, step=68),
    ]
    play(it, 100, [*first, gone, *again], gpus(1.0))
    account = it.runs[RunId("r")]
    assert account.epochs.lost == pytest.approx(1.4)
    assert account.epochs.high_water == pytest.approx(6.8)
    assert account.epochs.executed == pytest.approx(6.4 + 1.8)
    assert account.epochs.steps.executed == 64 + 18
    assert seconds(it)[State.REPLAY] == pytest.approx(14)  # from when it trains
    assert seconds(it)[State.FINISHED] == pytest.approx(10)
    assert run_cost(it) == pytest.approx(0.09)


def test_an_unused_gpu_is_charged_to_the_runs_in_whole_node_mode_only() -> None:
    for whole_node, cost in ((True, 0.010), (False, 0.0025)):
        it = ledger(whole_node=whole_node)
        play(it, 10, [event("start", 0, gpus=("1",))], gpus(0.0, 1.0, 1.0, 0.0))
        assert seconds(it) == pytest.approx({State.STARTUP: 2.5, State.UNALLOCATED: 7.5})
        assert run_cost(it) == pytest.approx(cost)
        assert sum(dollars(it).values()) == pytest.approx(0.010)


def test_a_run_with_unknown_devices_is_assumed_to_use_all() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, gpus=("MIG-elsewhere",))], gpus(0.0, 1.0))
    assert seconds(it) == pytest.approx({State.STARTUP: 10})


def test_without_a_run_a_busy_gpu_is_unattributed_and_a_quiet_one_vacant() -> None:
    it = ledger()
    play(it, 10, [], gpus(0.5, 0.01, None, 0.05))
    assert seconds(it) == pytest.approx({State.UNATTRIBUTED: 5, State.VACANT: 2.5, State.UNKNOWN: 2.5})


def test_after_the_last_run_the_node_is_finished_until_a_new_one_starts() -> None:
    it = ledger()
    play(it, 40, [event("start", 0), event("end", 10, status="finished"), event("start", 30, "next")], gpus(0.9))
    assert seconds(it) == pytest.approx({State.STARTUP: 20, State.FINISHED: 20})
    assert it.runs[RunId("r")].status is EndStatus.FINISHED


def test_a_gpu_that_cannot_be_read_is_unknown_and_charged_to_its_run() -> None:
    it = ledger()
    play(it, 20, [event("start", 0), event("phase", 0, **TRAIN), *steady(20)], gpus(1.0, None))
    assert seconds(it) == pytest.approx({State.USEFUL: 10, State.UNKNOWN: 10})
    assert run_cost(it) == pytest.approx(0.020)


def test_time_from_boot_to_the_first_start_is_boot_unless_a_run_was_open() -> None:
    it = ledger()
    it.cursor = None
    it.begin(T0 - 100, T0, T0 - 100)
    it.advance(T0 - 40, gpus(0.5), observed=False)
    it.apply(event("start", -40))
    it.advance(T0, gpus(0.5), observed=False)
    play(it, 10, [], gpus(0.5))
    assert seconds(it) == pytest.approx({State.BOOT: 60, State.STARTUP: 50})


def test_a_reboot_ends_runs_at_their_last_event_and_assumes_nothing() -> None:
    it = ledger()
    play(it, 50, [event("start", 0), event("phase", 0, **TRAIN), *steady(50)], gpus(1.0))
    it.begin(T0 + 200, T0 + 260, T0 + 200)
    it.advance(T0 + 260, gpus(0.0), observed=False)
    play(it, 300, [], gpus(0.0))
    assert run_cost(it) == pytest.approx(0.05)
    assert it.runs[RunId("r")].status is EndStatus.LOST
    assert seconds(it) == pytest.approx({State.USEFUL: 50, State.BOOT: 60, State.VACANT: 40})


def test_a_boot_time_before_the_accounted_time_accounts_nothing_twice() -> None:
    it = ledger()  # a container has boots of its own, and /proc/stat has the boot time of its host
    play(it, 50, [event("start", 0), event("phase", 0, **TRAIN), *steady(50)], gpus(1.0))
    it.begin(T0 + 49, T0 + 52, T0 - 1000)
    play(it, 60, [], gpus(0.0))
    assert sum(seconds(it).values()) == pytest.approx(60)
    assert run_cost(it) == pytest.approx(0.05)


def test_the_number_of_gpus_may_change_while_a_run_is_open() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, gpus=("0",))], gpus(1.0, 1.0))
    play(it, 20, [event("start", 10, "other", gpus=("3",))], gpus(1.0, 1.0, 1.0, 1.0))
    assert sum(seconds(it).values()) == pytest.approx(20)
    assert run_cost(it) == pytest.approx(0.015)


def test_two_runs_on_one_gpu_split_it() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, "a", gpus=("0",)), event("start", 0, "b", gpus=("0",))], gpus(1.0))
    assert run_cost(it, "a") == pytest.approx(0.005)
    assert run_cost(it, "b") == pytest.approx(0.005)


def test_two_processes_with_one_run_id_are_one_run_and_epochs_count_once() -> None:
    it = ledger()
    events = []
    for writer in ("one.jsonl", "two.jsonl"):
        events += [event("start", 0, writer=writer), event("phase", 0, writer=writer, **TRAIN)]
        events += [event("epoch_end", 10 * k, writer=writer, epoch=k) for k in range(1, 4)]
    play(it, 40, [*events, event("end", 32, writer="one.jsonl", status="finished")], gpus(1.0))
    account = it.runs[RunId("r")]
    assert (account.epochs.count, account.epochs.executed) == (3, 3)
    assert account.is_open
    assert run_cost(it) == pytest.approx(0.040)


def test_ten_thousand_runs_are_bounded_and_the_first_ones_exact() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, "mine")], gpus(1.0))
    results = [it.apply(event("start", 10, f"flood-{i}")) for i in range(10_000)]
    assert results.count("too_many_runs") == 10_000 - (MAX_OPEN_RUNS - 1)
    it.apply(event("end", 10, "mine", status="finished"))
    assert run_cost(it, "mine") == pytest.approx(0.010)


def test_many_consecutive_runs_do_not_make_the_ledger_grow() -> None:
    it = ledger()
    for i in range(3000):
        play(it, 2 * i + 2, [event("start", 2 * i, f"run-{i}"), event("end", 2 * i + 1, f"run-{i}")], gpus(1.0))
    assert len(it.runs) <= 400
    assert sum(dollars(it).values()) == pytest.approx(6.0)


def test_a_process_silent_for_too_long_is_lost_unless_it_is_watched() -> None:
    it = ledger()
    play(it, 5000, [event("start", 0), event("start", 0, "watched")], gpus(1.0), every=50.0)
    it.silence(T0 + 5000, 3600, watched=["watched.jsonl"])
    assert it.runs[RunId("r")].status is EndStatus.LOST
    assert it.runs[RunId("watched")].is_open


def test_a_node_that_never_had_devices_counts_as_one_unknown_device() -> None:
    it = ledger()
    it.advance(T0 + 10, [])
    it.apply(event("start", 10))
    it.advance(T0 + 20, [Device("GPU-0", "0", 1.0)])
    assert seconds(it) == pytest.approx({State.UNKNOWN: 10, State.STARTUP: 10})


def test_a_process_thought_gone_that_reports_again_was_alive_all_the_time() -> None:
    it = ledger()
    play(it, 30, [event("start", 0), event("phase", 0, **TRAIN), event("gone", 10), event("progress", 20)], gpus(1.0))
    assert it.runs[RunId("r")].is_open
    assert run_cost(it) == pytest.approx(0.030)


def test_a_launcher_without_a_position_leaves_the_lead_to_the_training() -> None:
    it = ledger()
    events = [event("start", 0, writer="launcher"), event("start", 2, writer="training")]
    events += [event("phase", 3, writer="training", **TRAIN), event("epoch_end", 10, writer="training", epoch=1)]
    play(it, 20, [*events, event("end", 15, writer="training", status="finished")], gpus(1.0))
    account = it.runs[RunId("r")]
    assert account.epochs.count == 1
    assert account.is_open
    assert run_cost(it) == pytest.approx(0.020)


def test_events_after_the_end_change_nothing() -> None:
    it = ledger()
    late = [event("end", 10, status="finished"), event("epoch_end", 20, epoch=1), event("phase", 21, phase="eval")]
    play(it, 30, [event("start", 0), event("phase", 0, **TRAIN), *late], gpus(1.0))
    assert it.runs[RunId("r")].epochs.count == 0
    assert run_cost(it) == pytest.approx(0.010)


def test_a_new_start_in_the_same_file_is_a_new_attempt() -> None:
    it = ledger()
    again = [event("start", 20), event("phase", 20, **TRAIN)]
    play(it, 30, [event("start", 0), event("phase", 0, **TRAIN), event("end", 10, status="failed"), *again], gpus(1.0))
    assert it.runs[RunId("r")].epochs.attempts == 2
    assert run_cost(it) == pytest.approx(0.020)


def test_hundreds_of_attempts_of_one_run_are_bounded_and_exact() -> None:
    it = ledger()
    for k in range(300):
        play(it, 4 * k + 4, [event("start", 4 * k, writer=f"{k}"), event("gone", 4 * k + 2, writer=f"{k}")], gpus(1.0))
    account = it.runs[RunId("r")]
    assert len(account.members) <= 64
    assert account.seconds(T0 + 1200) == pytest.approx(600)
    assert run_cost(it) == pytest.approx(0.6)
