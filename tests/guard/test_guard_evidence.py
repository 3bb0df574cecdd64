"""The guard acts on evidence without a gap, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.guard.seen import ALICE, BOB, BUDGET, FORGOTTEN, HUNG, Played, gpu, run, training, vacant

from epochcost.agent.host_load import HostLoad
from epochcost.guard.decisions import Outcome
from epochcost.guard.keeps import Keep
from epochcost.guard.observation import Observation, Person
from epochcost.model import HostReading, RunId, RunState, State

MINUTE = 60.0


def test_a_forgotten_machine_is_told_asked_and_ended() -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 9.9 * MINUTE)
    assert not played.notices
    played.show(vacant(), 0.2 * MINUTE)
    assert played.noticed_steps() == [("tell", "done"), ("ask", "done")]
    played.show(vacant(), 4.7 * MINUTE)
    assert not played.orders
    played.show(vacant(), 0.3 * MINUTE)
    assert [argv for _, argv in played.orders] == [("/bin/true", "n1")]
    played.guard.report(Outcome(played.last.order) if played.last.order else _outcome(played))
    played.show(vacant(), 5)
    assert played.guard.account.ended_usd_per_hour == {("forgotten-machine", "done"): 10.0}
    wasted = played.guard.account.wasted_usd["forgotten-machine", "done"]
    assert wasted == pytest.approx(10.0 * 15 / 60, abs=0.05)


def _outcome(played: Played) -> Outcome:
    order = played.guard._order
    assert order is not None
    return Outcome(order)


UNKNOWN = {
    "a GPU that cannot be read": vacant(void=("GPU 0 cannot be read",)),
    "an unknown price": vacant(usd_per_hour=None),
    "a clock that jumped": vacant(clock_jumps=1),
    "a GPU that says nothing": vacant(gpus=(gpu(0), gpu(1, utilization_ratio=None))),
    "memory that is not known": vacant(gpus=(gpu(0), gpu(1, held=None))),
    "memory of an unknown owner": vacant(gpus=(gpu(0), gpu(1, held=True))),
    "a GPU that works": vacant(gpus=(gpu(0), gpu(1, utilization_ratio=0.3))),
    "multiprocessors that work": vacant(gpus=(gpu(0), gpu(1, sm_active_ratio=0.3))),
    "power that says work": vacant(gpus=(gpu(0), gpu(1, power_watts=300.0))),
    "no GPU at all": vacant(gpus=()),
    "a run": vacant(runs=(run(),)),
    "work nobody reported": vacant(gpus=(gpu(0), gpu(1, state=State.UNATTRIBUTED, utilization_ratio=0.5))),
}


@pytest.mark.parametrize("odd", UNKNOWN.values(), ids=UNKNOWN)
def test_one_look_at_anything_else_starts_the_wait_anew(odd: Observation) -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 9.5 * MINUTE)
    played.show(odd, 5)
    # A jump shows in a counter that stays where it is.
    after = replace(vacant(), clock_jumps=odd.clock_jumps)
    played.show(after, 9.9 * MINUTE)
    assert not played.notices
    played.show(after, 0.2 * MINUTE)
    assert played.noticed_steps() == [("tell", "done"), ("ask", "done")]


@pytest.mark.parametrize("odd", UNKNOWN.values(), ids=UNKNOWN)
def test_where_it_lasts_nothing_is_ever_done(odd: Observation) -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 5)  # what its GPUs draw at rest
    if odd.clock_jumps:
        for n in range(1, 100):
            played.show(replace(odd, clock_jumps=n), MINUTE)
    else:
        played.show(odd, 100 * MINUTE)
    assert not played.notices
    assert not played.orders


def test_a_gap_starts_the_wait_anew_also_after_it_was_asked() -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 12 * MINUTE)
    played.t += 30
    played.show(vacant(), 14.9 * MINUTE)
    assert not played.orders
    assert played.noticed_steps() == [
        ("tell", "done"),
        ("ask", "done"),
        ("ask", "withdrawn"),
        ("tell", "done"),
        ("ask", "done"),
    ]
    played.show(vacant(), 0.3 * MINUTE)
    assert len(played.orders) == 1


def test_a_policy_that_changes_starts_every_wait_anew() -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 9.9 * MINUTE)
    played.guard.replace(played.guard.policies)
    played.show(vacant(), 9.9 * MINUTE)
    assert not played.notices


def test_after_a_restart_every_wait_begins_anew_and_what_was_done_is_remembered() -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 14 * MINUTE)
    again = Played(FORGOTTEN)
    again.guard.restore(played.guard.state())
    again.t = played.t
    again.show(vacant(), 9.9 * MINUTE)
    assert not again.notices
    assert again.guard.account.actions == {
        ("forgotten-machine", "tell", "done"): 1,
        ("forgotten-machine", "ask", "done"): 1,
    }


def test_dollars_must_be_reached_too() -> None:
    played = Played(FORGOTTEN.replace("from_usd: 0", "from_usd: 5"))
    played.show(vacant(), 29.5 * MINUTE)
    assert not played.notices
    played.show(vacant(), MINUTE)
    assert played.notices


def test_steps_are_taken_within_the_hours_alone() -> None:
    # T0 is a Tuesday, 22:13:20 UTC
    text = FORGOTTEN.replace("when: {", 'when: {hours: ["23:00-05:00"], days: [tue], ')
    played = Played(text)
    played.show(vacant(), 46 * MINUTE)
    assert not played.notices
    played.show(vacant(), 2 * MINUTE)
    assert played.noticed_steps() == [("tell", "done"), ("ask", "done")]


def test_somebody_at_a_terminal_puts_it_off() -> None:
    text = FORGOTTEN.replace("interactive: off", "interactive: 10m")
    for people, is_noticed in (((ALICE, 60.0),), False), (((ALICE, 3600.0),), True), ((), True), (None, False):
        played = Played(text)
        played.show(vacant(interactive=people), 12 * MINUTE)
        assert bool(played.notices) is is_noticed


def test_busy_cpus_put_it_off() -> None:
    text = FORGOTTEN.replace("busy_cpu: off", "busy_cpu: 0.25")
    for ratio, is_noticed in (0.5, False), (0.02, True), (None, False):
        played = Played(text)
        played.show(vacant(cpu_ratio=ratio), 12 * MINUTE)
        assert bool(played.notices) is is_noticed


def test_one_process_that_prepares_data_or_fetches_them_puts_it_off() -> None:
    text = FORGOTTEN.replace("busy_cpu: off", "busy_cpu: off, busy_cores: 0.9, busy_io: 5")
    for cores, io, is_noticed in (
        (1.0, 0.0, False), (0.5, 0.0, True), (None, None, True), (0.1, 2e7, False), (0.1, 1e6, True),
    ):  # fmt: skip
        played = Played(text)
        played.show(vacant(busy_cores=cores, io_bytes_per_second=io), 12 * MINUTE)
        assert bool(played.notices) is is_noticed, (cores, io)


@pytest.mark.parametrize("work", [{"busy_cores_lately": 0.8}, {"io_bytes_per_second_lately": 4e6}], ids=str)
def test_nothing_is_ended_while_the_host_has_just_become_busy(work: dict[str, float]) -> None:
    played = Played(FORGOTTEN.replace("busy_cpu: off", "busy_cpu: off, busy_cores: 0.9, busy_io: 5"))
    played.show(vacant(), 14.5 * MINUTE)
    played.show(vacant(**work), 3 * MINUTE)  # its mean over minutes is not there yet, and the wait goes on
    assert not played.orders
    played.show(vacant(), 5)
    assert played.orders


def test_what_the_host_does_is_a_mean_over_minutes_and_unknown_where_nothing_is_read() -> None:
    load = HostLoad()

    def read(t: float, cpu: float, received: int | None) -> None:
        load.see(HostReading(t, 0.1, {"user": cpu, "idle": 5 * t}, network_received_bytes=received))

    read(0.0, 0.0, 0)
    assert (load.busy_cores, load.io_bytes_per_second) == (None, None)
    read(10.0, 10.0, 10_000_000)
    assert (load.busy_cores, load.io_bytes_per_second) == (1.0, 1e6)
    read(20.0, 10.0, 10_000_000)  # a moment of rest is none
    assert load.busy_cores == pytest.approx(0.967, abs=0.001)
    assert load.busy_cores_lately == pytest.approx(0.717, abs=0.001)
    read(1000.0, 10.0, 10_000_000)
    assert load.busy_cores == pytest.approx(0.0, abs=0.05)
    read(1010.0, 10.0, None)
    assert load.io_bytes_per_second is None
    load.see(None)
    assert load.busy_cores is None


def test_whoever_holds_memory_must_be_known_and_is_asked() -> None:
    held = vacant(gpus=(gpu(0), gpu(1, held=True, owners=(BOB,))))
    unknown = Played(FORGOTTEN)
    unknown.show(held, 60 * MINUTE)
    assert not unknown.notices  # what the GPU draws at rest is not known
    played = Played(FORGOTTEN)
    played.show(vacant(), 5)
    played.show(held, 12 * MINUTE)
    assert played.noticed_steps() == [("tell", "done"), ("ask", "done")]
    played.guard.keeps.put(Keep("k", BOB.uid, "", played.t + 3600, "bob", "debugging"))
    played.show(held, 30 * MINUTE)
    assert not played.orders
    assert played.notices[-1] == ("forgotten-machine", "ask", "kept")
    assert played.guard.keeps.keeps


@pytest.mark.parametrize(
    ("keep", "holds"),
    [
        (Keep("k", None, "", 9e9), True),
        (Keep("k", ALICE.uid, "", 9e9), True),
        (Keep("k", BOB.uid, "", 9e9), False),
        (Keep("k", BOB.uid, "r", 9e9), False),
        (Keep("k", ALICE.uid, "r", 9e9), True),
        (Keep("k", ALICE.uid, "another", 9e9), False),
    ],
)
def test_a_keep_holds_for_what_is_its_users(keep: Keep, holds: bool) -> None:
    played = Played(HUNG)
    played.guard.keeps.put(keep)
    played.show(training(run(state=RunState.STALLED)), 30 * MINUTE)
    assert bool(played.notices) is not holds


def test_who_had_a_run_here_may_keep_the_machine() -> None:
    played = Played(FORGOTTEN)
    played.show(training(run()), MINUTE)
    played.guard.keeps.put(Keep("k", ALICE.uid, "", played.t + 3600, "alice"))
    played.guard.keeps.put(Keep("l", BOB.uid, "", played.t + 36000, "bob"))
    played.show(vacant(), 59 * MINUTE)
    assert not played.notices
    played.show(vacant(), 12 * MINUTE)
    assert played.notices


def test_a_hung_run_is_asked_and_its_command_names_it() -> None:
    played = Played(HUNG)
    hung = training(run(state=RunState.STALLED))
    played.show(hung, 10.2 * MINUTE)
    assert {name: (r.at, r.reason) for name, r in played.last.requests.items()} == {
        "r": ("checkpoint", "hung: stalled")
    }
    played.show(hung, 2 * MINUTE)
    assert [argv for _, argv in played.orders] == [("/bin/true", "r")]


def test_progress_takes_a_request_back() -> None:
    played = Played(HUNG)
    played.show(training(run(state=RunState.STALLED)), 11 * MINUTE)
    assert played.last.requests
    played.show(training(run()), 5)
    assert not played.last.requests
    assert played.notices[-1] == ("hung", "checkpoint", "withdrawn")


@pytest.mark.parametrize(
    "other",
    [
        {"followed": False},
        {"void": "its event file cannot be read"},
        {"guessed": True},
        {"usd_per_hour": None},
        {"open": False},
    ],
    ids=str,
)
def test_a_run_that_may_be_working_is_not_hung(other: dict[str, Any]) -> None:
    played = Played(HUNG)
    played.show(training(run(state=RunState.STALLED, **other)), 60 * MINUTE)
    assert not played.notices


def test_a_program_that_is_silent_is_hung_where_its_devices_do_nothing() -> None:
    played = Played(HUNG)
    silent = run(state=RunState.STALLED, guessed=True)
    idle = tuple(gpu(n, state=State.STALLED, runs=("r",)) for n in (0, 1))
    played.show(vacant(), 5)
    played.show(vacant(gpus=idle, runs=(silent,)), 11 * MINUTE)
    assert played.notices


@pytest.mark.parametrize("busy", [{"cpu_ratio": 0.5}, {"cpu_ratio": None}, {"busy_cores": 1.0}], ids=str)
def test_a_silent_program_whose_cpus_work_may_be_working(busy: dict[str, Any]) -> None:
    played = Played(HUNG)
    silent = run(state=RunState.STALLED, guessed=True)
    idle = tuple(gpu(n, state=State.STALLED, runs=("r",)) for n in (0, 1))
    played.show(vacant(), 5)
    played.show(vacant(gpus=idle, runs=(silent,), **busy), 60 * MINUTE)
    assert not played.notices


def test_a_budget_is_of_the_whole_run_and_of_confirmed_dollars() -> None:
    for confirmed, budget, over_budget in (
        (19.9, 20.0, False),
        (20.0, 20.0, True),
        (None, 20.0, False),
        (50.0, None, False),
    ):
        played = Played(BUDGET)
        played.show(training(run(confirmed_usd=confirmed, budget_usd=budget)), 3 * MINUTE)
        assert bool(played.last.requests) is over_budget


def test_what_ended_at_its_checkpoint_is_counted_and_no_command_runs() -> None:
    played = Played(BUDGET)
    over = run(confirmed_usd=20.0, budget_usd=20.0)
    played.show(training(over), 3 * MINUTE)
    ended = replace(over, open=False, state=RunState.PREEMPTED)
    played.show(vacant(runs=(ended,)), 10 * MINUTE)
    assert not played.orders
    assert played.guard.account.ended_usd_per_hour == {("budget", "done"): 10.0}


def test_a_checkpoint_under_way_is_waited_for() -> None:
    played = Played(BUDGET)
    over = run(confirmed_usd=20.0, budget_usd=20.0)
    played.show(training(over), 5 * MINUTE)
    saving = replace(over, state=RunState.CHECKPOINTING)
    played.show(training(saving), 20 * MINUTE)
    assert played.last.requests[RunId("r")].at == "checkpoint"
    played.show(training(over), 10)
    assert played.last.requests[RunId("r")].at == "now"


def test_a_command_that_ends_the_machine_hits_nobody_else() -> None:
    text = HUNG.replace("command: cancel", "command: off")
    hung, other = run(state=RunState.STALLED), run("other", user=BOB)
    played = Played(text)
    played.show(training(hung, other), 60 * MINUTE)
    assert not played.orders
    both = Played(text)
    both.show(training(hung, replace(other, state=RunState.STALLED)), 13 * MINUTE)
    assert both.orders
    stranger = Played(text)
    free = gpu(1, held=True, owners=(BOB,))
    alone = training(hung)
    stranger.show(replace(alone, gpus=(alone.gpus[0], free)), 60 * MINUTE)
    assert not stranger.orders


def test_one_command_at_a_time_and_so_many_in_an_hour() -> None:
    played = Played("actions_per_hour: 3\n" + HUNG.replace("{step: checkpoint, wait: 2m}, ", ""))
    runs = [run(f"r{n}", state=RunState.STALLED) for n in range(5)]
    played.show(training(*runs), 20 * MINUTE)
    assert len(played.orders) == 1
    for _ in range(4):
        played.guard.report(Outcome(played.guard._order)) if played.guard._order else None
        played.show(training(*runs), 10)
    assert len(played.orders) == 3
    assert ("hung", "stop", "limited") in played.notices
    played.show(training(*runs), 61 * MINUTE)
    assert len(played.orders) == 4


def test_a_command_that_fails_is_tried_again_and_then_given_up() -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 15.5 * MINUTE)
    for _ in range(2):
        assert played.guard._order is not None
        played.guard.report(Outcome(played.guard._order, "exit code 1"))
        played.show(vacant(), 1.2 * MINUTE)
    assert played.noticed_steps()[2:] == [("stop", "failed"), ("stop", "failed"), ("stop", "gave_up")]
    assert [waiting.gave_up for waiting in played.last.view.waiting] == [True]
    played.show(vacant(), 300 * MINUTE)
    assert len(played.orders) == 2


def test_a_machine_that_is_still_there_was_not_ended() -> None:
    played = Played(FORGOTTEN)
    played.show(vacant(), 15.5 * MINUTE)
    assert played.guard._order is not None
    played.guard.report(Outcome(played.guard._order))
    played.show(vacant(), 1.2 * MINUTE)
    assert ("forgotten-machine", "stop", "failed") in played.notices


def test_a_dry_run_says_what_it_would_have_done_and_does_nothing() -> None:
    played = Played(FORGOTTEN.replace("dry_run: false", ""))
    played.show(vacant(), 30 * MINUTE)
    assert played.noticed_steps() == [("tell", "dry_run"), ("ask", "dry_run"), ("stop", "dry_run")]
    assert not played.orders
    assert played.guard.account.ended_usd_per_hour == {("forgotten-machine", "dry_run"): 10.0}
    budget = Played(BUDGET.replace("dry_run: false", ""))
    budget.show(training(run(confirmed_usd=20.0, budget_usd=20.0)), 30 * MINUTE)
    assert not budget.last.requests


def test_a_session_of_the_machine_ends_whatever_runs_on_it() -> None:
    text = (
        FORGOTTEN.replace("use: forgotten-machine", "name: session")
        .replace("when: {for: 10m, from_usd: 0}", "when: {states: [past-session], session: 12h, for: 1m}")
        .replace("tell, {step: ask, wait: 5m}", "{step: checkpoint, wait: 5m}")
    )
    played = Played(text)
    busy = training(run(), boot_ts=vacant().t - 12 * 3600 + 300)
    played.show(busy, 5 * MINUTE)
    assert not played.notices
    played.show(busy, 1.5 * MINUTE)
    assert played.last.requests[RunId("r")].at == "checkpoint"
    played.show(busy, 5 * MINUTE)
    assert played.orders


def test_selectors_and_exceptions_by_owner_experiment_and_node() -> None:
    stalled = training(run(state=RunState.STALLED, experiment="vit-large"))
    for when, unless, is_noticed in (
        ("experiments: [vit-*], ", "", True),
        ("experiments: [llm-*], ", "", False),
        ("owners: [alice], ", "", True),
        ("owners: [bob], ", "", False),
        ("nodes: [n2], ", "", False),
        ("", "except: {owners: [al*]}\n    ", False),
        ("", "except: {experiments: [llm-*]}\n    ", True),
    ):
        played = Played(HUNG.replace("when: {", "when: {" + when).replace("ladder:", unless + "ladder:"))
        played.show(stalled, 11 * MINUTE)
        assert bool(played.notices) is is_noticed, (when, unless)


def test_a_person_without_a_name_is_shown_by_number() -> None:
    assert Person(1001).label == "user 1001"
