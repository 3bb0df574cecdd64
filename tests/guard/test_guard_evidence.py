"""The guard acts on evidence without a gap, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.guard.seen import ALICE, BOB, BUDGET, FORGOTTEN, HUNG, GuardDriver, gpu, run, training, vacant

from epochcost.agent.host_load import HostLoad
from epochcost.guard.decisions import Outcome
from epochcost.guard.keeps import Keep
from epochcost.guard.observation import Observation, Person
from epochcost.model import HostReading, RunId, RunState, State

MINUTE = 60.0


def test_a_forgotten_machine_is_notified_asked_and_ended() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 9.9 * MINUTE)
    assert not driver.notices
    driver.show(vacant(), 0.2 * MINUTE)
    assert driver.noticed_steps() == [("tell", "done"), ("ask", "done")]
    driver.show(vacant(), 4.7 * MINUTE)
    assert not driver.orders
    driver.show(vacant(), 0.3 * MINUTE)
    assert [argv for _, argv in driver.orders] == [("/bin/true", "n1")]
    driver.guard.report(Outcome(driver.last.order) if driver.last.order else _outcome(driver))
    driver.show(vacant(), 5)
    assert driver.guard.account.ended_usd_per_hour == {("forgotten-machine", "done"): 10.0}
    wasted = driver.guard.account.wasted_usd["forgotten-machine", "done"]
    assert wasted == pytest.approx(10.0 * 15 / 60, abs=0.05)


def _outcome(driver: GuardDriver) -> Outcome:
    order = driver.guard._order
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
def test_one_different_observation_restarts_the_wait(odd: Observation) -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 9.5 * MINUTE)
    driver.show(odd, 5)
    # A jump shows in a counter that stays where it is.
    after = replace(vacant(), clock_jumps=odd.clock_jumps)
    driver.show(after, 9.9 * MINUTE)
    assert not driver.notices
    driver.show(after, 0.2 * MINUTE)
    assert driver.noticed_steps() == [("tell", "done"), ("ask", "done")]


@pytest.mark.parametrize("odd", UNKNOWN.values(), ids=UNKNOWN)
def test_while_it_lasts_no_action_is_taken(odd: Observation) -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 5)  # the idle power of its GPUs
    if odd.clock_jumps:
        for n in range(1, 100):
            driver.show(replace(odd, clock_jumps=n), MINUTE)
    else:
        driver.show(odd, 100 * MINUTE)
    assert not driver.notices
    assert not driver.orders


def test_a_gap_restarts_the_wait_even_after_a_request() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 12 * MINUTE)
    driver.t += 30
    driver.show(vacant(), 14.9 * MINUTE)
    assert not driver.orders
    assert driver.noticed_steps() == [
        ("tell", "done"),
        ("ask", "done"),
        ("ask", "withdrawn"),
        ("tell", "done"),
        ("ask", "done"),
    ]
    driver.show(vacant(), 0.3 * MINUTE)
    assert len(driver.orders) == 1


def test_a_changed_policy_restarts_every_wait() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 9.9 * MINUTE)
    driver.guard.replace(driver.guard.policies)
    driver.show(vacant(), 9.9 * MINUTE)
    assert not driver.notices


def test_after_a_restart_every_wait_restarts_and_past_actions_are_remembered() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 14 * MINUTE)
    again = GuardDriver(FORGOTTEN)
    again.guard.restore(driver.guard.state())
    again.t = driver.t
    again.show(vacant(), 9.9 * MINUTE)
    assert not again.notices
    assert again.guard.account.actions == {
        ("forgotten-machine", "tell", "done"): 1,
        ("forgotten-machine", "ask", "done"): 1,
    }


def test_dollars_must_be_reached_too() -> None:
    driver = GuardDriver(FORGOTTEN.replace("from_usd: 0", "from_usd: 5"))
    driver.show(vacant(), 29.5 * MINUTE)
    assert not driver.notices
    driver.show(vacant(), MINUTE)
    assert driver.notices


def test_steps_are_taken_only_within_the_hours() -> None:
    # T0 is a Tuesday, 22:13:20 UTC
    text = FORGOTTEN.replace("when: {", 'when: {hours: ["23:00-05:00"], days: [tue], ')
    driver = GuardDriver(text)
    driver.show(vacant(), 46 * MINUTE)
    assert not driver.notices
    driver.show(vacant(), 2 * MINUTE)
    assert driver.noticed_steps() == [("tell", "done"), ("ask", "done")]


def test_a_user_at_a_terminal_postpones_it() -> None:
    text = FORGOTTEN.replace("interactive: off", "interactive: 10m")
    for people, is_noticed in (((ALICE, 60.0),), False), (((ALICE, 3600.0),), True), ((), True), (None, False):
        driver = GuardDriver(text)
        driver.show(vacant(interactive=people), 12 * MINUTE)
        assert bool(driver.notices) is is_noticed


def test_busy_cpus_postpone_it() -> None:
    text = FORGOTTEN.replace("busy_cpu: off", "busy_cpu: 0.25")
    for ratio, is_noticed in (0.5, False), (0.02, True), (None, False):
        driver = GuardDriver(text)
        driver.show(vacant(cpu_ratio=ratio), 12 * MINUTE)
        assert bool(driver.notices) is is_noticed


def test_a_process_that_prepares_or_downloads_data_postpones_it() -> None:
    text = FORGOTTEN.replace("busy_cpu: off", "busy_cpu: off, busy_cores: 0.9, busy_io: 5")
    for cores, io, is_noticed in (
        (1.0, 0.0, False), (0.5, 0.0, True), (None, None, True), (0.1, 2e7, False), (0.1, 1e6, True),
    ):  # fmt: skip
        driver = GuardDriver(text)
        driver.show(vacant(busy_cores=cores, io_bytes_per_second=io), 12 * MINUTE)
        assert bool(driver.notices) is is_noticed, (cores, io)


@pytest.mark.parametrize("work", [{"busy_cores_lately": 0.8}, {"io_bytes_per_second_lately": 4e6}], ids=str)
def test_nothing_is_ended_while_the_host_has_just_become_busy(work: dict[str, float]) -> None:
    driver = GuardDriver(FORGOTTEN.replace("busy_cpu: off", "busy_cpu: off, busy_cores: 0.9, busy_io: 5"))
    driver.show(vacant(), 14.5 * MINUTE)
    driver.show(vacant(**work), 3 * MINUTE)  # its mean over minutes is not known yet, and the wait continues
    assert not driver.orders
    driver.show(vacant(), 5)
    assert driver.orders


def test_host_activity_is_a_mean_over_minutes_and_unknown_without_readings() -> None:
    load = HostLoad()

    def read(t: float, cpu: float, received: int | None) -> None:
        load.see(HostReading(t, 0.1, {"user": cpu, "idle": 5 * t}, network_received_bytes=received))

    read(0.0, 0.0, 0)
    assert (load.busy_cores, load.io_bytes_per_second) == (None, None)
    read(10.0, 10.0, 10_000_000)
    assert (load.busy_cores, load.io_bytes_per_second) == (1.0, 1e6)
    read(20.0, 10.0, 10_000_000)  # a moment of rest does not count
    assert load.busy_cores == pytest.approx(0.967, abs=0.001)
    assert load.busy_cores_lately == pytest.approx(0.717, abs=0.001)
    read(1000.0, 10.0, 10_000_000)
    assert load.busy_cores == pytest.approx(0.0, abs=0.05)
    read(1010.0, 10.0, None)
    assert load.io_bytes_per_second is None
    load.see(None)
    assert load.busy_cores is None


def test_the_owner_of_held_memory_must_be_known_and_is_asked() -> None:
    observation = vacant(gpus=(gpu(0), gpu(1, held=True, owners=(BOB,))))
    unknown = GuardDriver(FORGOTTEN)
    unknown.show(observation, 60 * MINUTE)
    assert not unknown.notices  # the idle power of the GPU is unknown
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 5)
    driver.show(observation, 12 * MINUTE)
    assert driver.noticed_steps() == [("tell", "done"), ("ask", "done")]
    driver.guard.keeps.put(Keep("k", BOB.uid, "", driver.t + 3600, "bob", "debugging"))
    driver.show(observation, 30 * MINUTE)
    assert not driver.orders
    assert driver.notices[-1] == ("forgotten-machine", "ask", "kept")
    assert driver.guard.keeps.keeps


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (Keep("k", None, "", 9e9), True),
        (Keep("k", ALICE.uid, "", 9e9), True),
        (Keep("k", BOB.uid, "", 9e9), False),
        (Keep("k", BOB.uid, "r", 9e9), False),
        (Keep("k", ALICE.uid, "r", 9e9), True),
        (Keep("k", ALICE.uid, "another", 9e9), False),
    ],
)
def test_a_keep_applies_to_what_belongs_to_its_user(keep: Keep, expected: bool) -> None:
    driver = GuardDriver(HUNG)
    driver.guard.keeps.put(keep)
    driver.show(training(run(state=RunState.STALLED)), 30 * MINUTE)
    assert bool(driver.notices) is not expected


def test_a_user_who_had_a_run_here_may_keep_the_machine() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(training(run()), MINUTE)
    driver.guard.keeps.put(Keep("k", ALICE.uid, "", driver.t + 3600, "alice"))
    driver.guard.keeps.put(Keep("l", BOB.uid, "", driver.t + 36000, "bob"))
    driver.show(vacant(), 59 * MINUTE)
    assert not driver.notices
    driver.show(vacant(), 12 * MINUTE)
    assert driver.notices


def test_a_hung_run_is_asked_and_its_command_names_it() -> None:
    driver = GuardDriver(HUNG)
    hung = training(run(state=RunState.STALLED))
    driver.show(hung, 10.2 * MINUTE)
    assert {name: (r.at, r.reason) for name, r in driver.last.requests.items()} == {
        "r": ("checkpoint", "hung: stalled")
    }
    driver.show(hung, 2 * MINUTE)
    assert [argv for _, argv in driver.orders] == [("/bin/true", "r")]


def test_progress_withdraws_a_request() -> None:
    driver = GuardDriver(HUNG)
    driver.show(training(run(state=RunState.STALLED)), 11 * MINUTE)
    assert driver.last.requests
    driver.show(training(run()), 5)
    assert not driver.last.requests
    assert driver.notices[-1] == ("hung", "checkpoint", "withdrawn")


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
    driver = GuardDriver(HUNG)
    driver.show(training(run(state=RunState.STALLED, **other)), 60 * MINUTE)
    assert not driver.notices


def test_a_program_that_is_silent_is_hung_where_its_devices_do_nothing() -> None:
    driver = GuardDriver(HUNG)
    silent = run(state=RunState.STALLED, guessed=True)
    idle = tuple(gpu(n, state=State.STALLED, runs=("r",)) for n in (0, 1))
    driver.show(vacant(), 5)
    driver.show(vacant(gpus=idle, runs=(silent,)), 11 * MINUTE)
    assert driver.notices


@pytest.mark.parametrize("busy", [{"cpu_ratio": 0.5}, {"cpu_ratio": None}, {"busy_cores": 1.0}], ids=str)
def test_a_silent_program_whose_cpus_work_may_be_working(busy: dict[str, Any]) -> None:
    driver = GuardDriver(HUNG)
    silent = run(state=RunState.STALLED, guessed=True)
    idle = tuple(gpu(n, state=State.STALLED, runs=("r",)) for n in (0, 1))
    driver.show(vacant(), 5)
    driver.show(vacant(gpus=idle, runs=(silent,), **busy), 60 * MINUTE)
    assert not driver.notices


def test_a_budget_covers_the_entire_run_and_confirmed_dollars() -> None:
    for confirmed, budget, over_budget in (
        (19.9, 20.0, False),
        (20.0, 20.0, True),
        (None, 20.0, False),
        (50.0, None, False),
    ):
        driver = GuardDriver(BUDGET)
        driver.show(training(run(confirmed_usd=confirmed, budget_usd=budget)), 3 * MINUTE)
        assert bool(driver.last.requests) is over_budget


def test_a_run_that_ended_at_its_checkpoint_is_counted_and_no_command_runs() -> None:
    driver = GuardDriver(BUDGET)
    over = run(confirmed_usd=20.0, budget_usd=20.0)
    driver.show(training(over), 3 * MINUTE)
    preempted = replace(over, open=False, state=RunState.PREEMPTED)
    driver.show(vacant(runs=(preempted,)), 10 * MINUTE)
    assert not driver.orders
    assert driver.guard.account.ended_usd_per_hour == {("budget", "done"): 10.0}


def test_a_running_checkpoint_is_awaited() -> None:
    driver = GuardDriver(BUDGET)
    over = run(confirmed_usd=20.0, budget_usd=20.0)
    driver.show(training(over), 5 * MINUTE)
    saving = replace(over, state=RunState.CHECKPOINTING)
    driver.show(training(saving), 20 * MINUTE)
    assert driver.last.requests[RunId("r")].at == "checkpoint"
    driver.show(training(over), 10)
    assert driver.last.requests[RunId("r")].at == "now"


def test_a_command_that_ends_the_machine_affects_no_other_user() -> None:
    text = HUNG.replace("command: cancel", "command: off")
    hung, other = run(state=RunState.STALLED), run("other", user=BOB)
    driver = GuardDriver(text)
    driver.show(training(hung, other), 60 * MINUTE)
    assert not driver.orders
    both = GuardDriver(text)
    both.show(training(hung, replace(other, state=RunState.STALLED)), 13 * MINUTE)
    assert both.orders
    stranger = GuardDriver(text)
    free = gpu(1, held=True, owners=(BOB,))
    alone = training(hung)
    stranger.show(replace(alone, gpus=(alone.gpus[0], free)), 60 * MINUTE)
    assert not stranger.orders


def test_one_command_at_a_time_and_a_limit_per_hour() -> None:
    driver = GuardDriver("actions_per_hour: 3\n" + HUNG.replace("{step: checkpoint, wait: 2m}, ", ""))
    runs = [run(f"r{n}", state=RunState.STALLED) for n in range(5)]
    driver.show(training(*runs), 20 * MINUTE)
    assert len(driver.orders) == 1
    for _ in range(4):
        driver.guard.report(Outcome(driver.guard._order)) if driver.guard._order else None
        driver.show(training(*runs), 10)
    assert len(driver.orders) == 3
    assert ("hung", "stop", "limited") in driver.notices
    driver.show(training(*runs), 61 * MINUTE)
    assert len(driver.orders) == 4


def test_a_command_that_fails_is_retried_and_then_given_up() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 15.5 * MINUTE)
    for _ in range(2):
        assert driver.guard._order is not None
        driver.guard.report(Outcome(driver.guard._order, "exit code 1"))
        driver.show(vacant(), 1.2 * MINUTE)
    assert driver.noticed_steps()[2:] == [("stop", "failed"), ("stop", "failed"), ("stop", "gave_up")]
    assert [waiting.gave_up for waiting in driver.last.view.waiting] == [True]
    driver.show(vacant(), 300 * MINUTE)
    assert len(driver.orders) == 2


def test_a_machine_that_is_still_there_was_not_ended() -> None:
    driver = GuardDriver(FORGOTTEN)
    driver.show(vacant(), 15.5 * MINUTE)
    assert driver.guard._order is not None
    driver.guard.report(Outcome(driver.guard._order))
    driver.show(vacant(), 1.2 * MINUTE)
    assert ("forgotten-machine", "stop", "failed") in driver.notices


def test_a_dry_run_reports_its_actions_and_takes_none() -> None:
    driver = GuardDriver(FORGOTTEN.replace("dry_run: false", ""))
    driver.show(vacant(), 30 * MINUTE)
    assert driver.noticed_steps() == [("tell", "dry_run"), ("ask", "dry_run"), ("stop", "dry_run")]
    assert not driver.orders
    assert driver.guard.account.ended_usd_per_hour == {("forgotten-machine", "dry_run"): 10.0}
    budget = GuardDriver(BUDGET.replace("dry_run: false", ""))
    budget.show(training(run(confirmed_usd=20.0, budget_usd=20.0)), 30 * MINUTE)
    assert not budget.last.requests


def test_a_session_of_the_machine_ends_whatever_runs_on_it() -> None:
    text = (
        FORGOTTEN.replace("use: forgotten-machine", "name: session")
        .replace("when: {for: 10m, from_usd: 0}", "when: {states: [past-session], session: 12h, for: 1m}")
        .replace("tell, {step: ask, wait: 5m}", "{step: checkpoint, wait: 5m}")
    )
    driver = GuardDriver(text)
    busy = training(run(), boot_ts=vacant().t - 12 * 3600 + 300)
    driver.show(busy, 5 * MINUTE)
    assert not driver.notices
    driver.show(busy, 1.5 * MINUTE)
    assert driver.last.requests[RunId("r")].at == "checkpoint"
    driver.show(busy, 5 * MINUTE)
    assert driver.orders


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
        driver = GuardDriver(HUNG.replace("when: {", "when: {" + when).replace("ladder:", unless + "ladder:"))
        driver.show(stalled, 11 * MINUTE)
        assert bool(driver.notices) is is_noticed, (when, unless)


def test_a_user_without_a_name_is_shown_by_number() -> None:
    assert Person(1001).label == "user 1001"
