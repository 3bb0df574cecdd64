"""A callback's run is its trainer's: it joins only a run that the program opened around it, and absorbs no other."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.training.programs import events, events_by_file
from tests.training.reporting import attempts, directory, of
from tests.waiting import wait_for

import epochcost
from epochcost.training.fit import Fit
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.lightning import LightningHooks

__all__ = ["directory"]

FRAMEWORK = """
class Engine:
    def __init__(self, *callbacks):
        self.callbacks = list(callbacks)

    def fit(self, epochs=2, fail_at=None, again_at=None):
        for callback in self.callbacks:
            callback.begin(self)
        for step in range(1, 5 * epochs + 1):
            if step == again_at:
                return self._again(epochs)
            if step == fail_at:
                raise RuntimeError("out of memory")
            for callback in self.callbacks:
                callback.step(step)
        for callback in self.callbacks:
            callback.end()

    def _again(self, epochs):
        for callback in self.callbacks:
            callback.begin(self)
        for step in range(1, 5 * epochs + 1):
            for callback in self.callbacks:
                callback.step(step)
        for callback in self.callbacks:
            callback.end()
"""


@pytest.fixture
def engine() -> type:
    """A test framework without a hook for a failed fit, in a package of its own."""
    module = ModuleType("smallframe.engine")
    exec(FRAMEWORK, module.__dict__)
    return module.Engine


OUTCOMES = {"broken": "failed", "whole": "finished"}


class Callback:
    """What a framework's hooks do, for `FRAMEWORK`."""

    def __init__(self, experiment: str, **arguments: Any) -> None:
        self.fit = Fit("smallframe", UserArgs(experiment, **arguments), call=("smallframe", ("fit",)))

    def begin(self, engine: object) -> None:
        self.fit.begin()
        self.fit.set_position(0, 0)
        self.fit.update_info(FrameworkInfo(epochs=2, batch_size=4, batches=5, steps=5))

    def step(self, step: int) -> None:
        if step == 1:
            self.fit.begin_epoch(0)
        self.fit.step_to(step, (step - 1) % 5 + 1)
        if step % 5 == 0:
            self.fit.end_epoch(step // 5)
            self.fit.begin_epoch(step // 5)

    def end(self) -> None:
        self.fit.epoch_open = False
        self.fit.end()


def fails(call: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        call()


def statuses(directory: Path) -> dict[object, object]:
    return {lines[0]["experiment"]: lines[-1].get("status") for lines in events_by_file(directory).values()}


def test_a_failed_fit_ends_by_itself_soon_after(directory: Path, engine: type):
    fails(lambda: engine(Callback("a")).fit(fail_at=7))
    wait_for(lambda: statuses(directory) == {"a": "failed"}, what="the broken fit to end")
    assert epochcost.current() is None


def test_a_fit_after_a_failed_one_is_a_run_of_its_own_at_once(directory: Path, engine: type):
    interrupted = Callback("a", id="a")
    fails(lambda: engine(interrupted).fit(fail_at=7))
    engine(Callback("b", id="b", budget_usd=3)).fit()
    first, second = attempts(directory)
    assert of(first, "end", "run", "status", "step") == [("a", "failed", 6)]
    assert of(second, "end", "run", "status", "step", "budget_usd") == [("b", "finished", 10, 3)]
    assert float(str(first[-1]["mono"])) <= float(str(second[0]["mono"]))


def test_failed_fits_of_one_object_absorb_nothing_even_if_calls_reuse_memory(directory: Path, engine: type):
    again = engine()
    for number in range(4):
        again.callbacks = [Callback(f"broken{number}")]
        fails(lambda: again.fit(fail_at=3))
        again.callbacks = [Callback(f"whole{number}")]
        again.fit()
    expected = {f"{what}{number}": how for what, how in OUTCOMES.items() for number in range(4)}
    assert statuses(directory) == expected


def test_a_call_of_another_object_in_the_same_memory_is_another_call(directory: Path, engine: type):
    results: list[bool] = []

    class Looks:
        def begin(self, _: object) -> None:
            results.append(interrupted.fit.broke)

        step = begin

        def end(self) -> None:
            pass

    for _ in range(4):
        interrupted = Callback("a")
        fails(lambda callback=interrupted: engine(callback).fit(fail_at=3))  # type: ignore[misc]
        other = engine(Looks())
        other.fit()
    assert all(results)


def test_two_callbacks_of_one_fit_are_two_runs(directory: Path, engine: type):
    engine(Callback("a"), Callback("b")).fit()
    assert statuses(directory) == {"a": "finished", "b": "finished"}


def test_a_running_fit_is_not_mistaken_for_a_failed_one(directory: Path, engine: type):
    class Slow(Callback):
        def step(self, step: int) -> None:
            super().step(step)
            if step == 3:
                wait_for(lambda: self.fit.active and not self.fit.broke)
                engine(Callback("inner")).fit()  # which looks for broken fits when it begins

    engine(Slow("outer")).fit()
    assert statuses(directory) == {"outer": "finished", "inner": "finished"}


def test_fits_within_fits_are_runs_of_their_own(directory: Path, engine: type):
    class Nested(Callback):
        def step(self, step: int) -> None:
            super().step(step)
            if step == 2:
                engine(Callback("inner")).fit()

    engine(Nested("outer")).fit()
    ends = {lines[0]["experiment"]: lines[-1]["step"] for lines in events_by_file(directory).values()}
    assert ends == {"outer": 10, "inner": 10}


def test_a_framework_that_restarts_within_one_call_is_one_run_to_the_end(directory: Path, engine: type):
    engine(Callback("a")).fit(again_at=4)
    lines = events(directory)
    assert of(lines, "resume", "epoch", "step") == [(0, 0)]
    assert of(lines, "end", "status", "epoch", "step") == [("finished", 2, 10)]


def test_restarting_before_the_first_step_repeats_no_work(directory: Path, engine: type):
    engine(Callback("a")).fit(again_at=1)
    assert of(events(directory), "resume") == []


def test_a_trial_after_a_failed_one_is_a_run_of_its_own_in_the_same_call(directory: Path, engine: type):
    class Trial(Callback):
        def begin(self, engine: object) -> None:
            self.fit.begin(new_trial=True)
            self.fit.set_position(0, 0)

    search = engine(Trial("search"))
    for _ in range(3):
        fails(lambda: search.fit(fail_at=3))
        search.fit()
    ends = [of(lines, "end", "status", "step")[0] for lines in attempts(directory)]
    assert ends == [("failed", 2), ("finished", 10)] * 3
    assert len({lines[0]["run"] for lines in attempts(directory)}) == 6


def test_fits_in_threads_at_once_are_runs_of_their_own(directory: Path, engine: type):
    together = threading.Barrier(2)

    class Waits(Callback):
        def begin(self, engine: object) -> None:
            super().begin(engine)
            together.wait(timeout=30)

    with epochcost.run("main"):
        threads = [threading.Thread(target=lambda name=name: engine(Waits(name)).fit()) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ends = {lines[0]["experiment"]: lines[-1].get("step") for lines in events_by_file(directory).values()}
    assert ends == {"main": None, "a": 10, "b": 10}


def test_a_run_that_the_program_opened_around_the_fit_is_joined_and_left_open(directory: Path, engine: type, caplog):
    caplog.set_level("INFO")
    with epochcost.run("mine") as run:
        engine(Callback("theirs")).fit()
        engine(Callback("theirs")).fit()
        assert run.is_open
        assert run.epoch == 4
    assert of(events(directory), "end", "experiment", "status") == [("mine", "finished")]
    assert caplog.text.count(f"part of run {run.id}") == 1
    assert "ignoring the callback's experiment" in caplog.text


def test_a_failed_fit_within_the_programs_run_leaves_that_open(directory: Path, engine: type):
    with epochcost.run("mine") as run:
        fails(lambda: engine(Callback("a")).fit(fail_at=3))
        engine(Callback("b")).fit()
        assert run.is_open
    assert list(statuses(directory).values()) == ["finished"]


def test_a_callback_with_an_id_of_its_own_joins_no_other_run(directory: Path, engine: type):
    with epochcost.run("mine", id="mine"):
        engine(Callback("a", id="other")).fit()
        engine(Callback("a", id="mine")).fit()
    runs = [lines[0]["run"] for lines in events_by_file(directory).values()]
    assert sorted(runs) == ["mine", "other"]


def test_a_run_of_another_task_in_the_same_thread_is_not_joined(directory: Path, engine: type):
    async def main() -> None:
        is_open = asyncio.Event()

        async def keeps_a_run_open() -> None:
            with epochcost.run("mine"):
                is_open.set()
                await asyncio.sleep(0.05)

        holding = asyncio.create_task(keeps_a_run_open())
        await is_open.wait()
        engine(Callback("a")).fit()
        await holding

    asyncio.run(main())
    assert set(statuses(directory)) == {"mine", "a"}


@pytest.mark.parametrize(("name", "status"), [("TrialPruned", "finished"), ("ValueError", "failed")])
def test_a_pruned_trial_is_not_a_failure(directory: Path, name: str, status: str):
    hooks = LightningHooks("trial")
    trainer = SimpleNamespace(
        local_rank=0, world_size=1, current_epoch=0, global_step=0, sanity_checking=False, loggers=[]
    )
    hooks.on_fit_start(trainer, None)
    hooks.on_exception(trainer, None, type(name, (Exception,), {})())
    assert of(events(directory), "end", "status") == [(status,)]


class SIGTERMException(SystemExit):
    """As Lightning's."""


@pytest.mark.parametrize("kind", [SIGTERMException, type("Later", (SIGTERMException,), {})])
def test_the_frameworks_exception_for_sigterm_is_a_preemption(directory: Path, kind: type[BaseException]):
    with pytest.raises(SystemExit), epochcost.run("x"):
        raise kind
    assert of(events(directory), "end", "status") == [("preempted",)]


def test_a_second_start_ends_an_unfinished_first(directory: Path):
    epochcost.start("first", epochs=2)
    epochcost.epoch_end()
    epochcost.start("second", epochs=1)
    epochcost.epoch_end()
    epochcost.end()
    assert statuses(directory) == {"first": "failed", "second": "finished"}


def test_plain_functions_act_on_the_run_of_their_own_thread(directory: Path):
    with epochcost.run("main") as run:

        def work() -> None:
            epochcost.step()  # the only one there is
            with epochcost.run("other"):
                epochcost.step(5)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert epochcost.current() is run
    ends = {lines[0]["experiment"]: lines[-1]["step"] for lines in events_by_file(directory).values()}
    assert ends == {"main": 1, "other": 5}


def test_no_frame_of_a_fit_is_kept(directory: Path, engine: type):
    """The memory of a fit is released with it, although its call was inspected."""
    import gc
    import weakref

    class Model:
        pass

    references: list[weakref.ref] = []

    class Holds(Callback):
        def begin(self, engine: object) -> None:
            model = Model()
            references.append(weakref.ref(model))
            super().begin(engine)

    fails(lambda: engine(Holds("a")).fit(fail_at=2))
    sys.exc_info()
    gc.collect()
    assert references[0]() is None
