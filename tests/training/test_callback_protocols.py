"""Callbacks driven as their frameworks document it, by small loops of our own; the frameworks are not needed."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.training.programs import events
from tests.training.reporting import attempts, directory, of, write_cost

import epochcost
from epochcost.training.composer import ComposerHooks
from epochcost.training.fastai import FastaiHooks
from epochcost.training.huggingface import HuggingFaceHooks
from epochcost.training.keras import KerasHooks
from epochcost.training.lightning import LightningHooks
from epochcost.training.ultralytics import UltralyticsHooks, add_callbacks

__all__ = ["directory"]
EPOCHS = [(1, 5), (2, 10), (3, 15)]


class Yolo:
    """Ultralytics' events: a dictionary of lists of functions, each called with the trainer."""

    def __init__(self, *, start: int = 0, ddp: bool = False) -> None:
        self.callbacks: dict[str, list] = {}
        self.trainer = SimpleNamespace(
            ddp=ddp, start_epoch=start, epochs=3, batch_size=16, train_loader=range(5), metrics={}, epoch=start
        )

    def add_callback(self, event: str, callback) -> None:
        self.callbacks.setdefault(event, []).append(callback)

    def call_hooks(self, event: str) -> None:
        for callback in self.callbacks.get(event, []):
            callback(self.trainer)

    def train(self, *, fail_in: int | None = None) -> None:
        try:
            if self.trainer.ddp:
                self.call_hooks("on_pretrain_routine_start")
                return
            self._train(fail_in)
        finally:
            if not self.trainer.ddp:
                self.call_hooks("teardown")

    def _train(self, fail_in: int | None) -> None:
        self.call_hooks("on_pretrain_routine_start")
        self.call_hooks("on_train_start")
        for epoch in range(self.trainer.start_epoch, 3):
            self.trainer.epoch = epoch
            self.call_hooks("on_train_epoch_start")
            for _ in range(5):
                self.call_hooks("on_train_batch_end")
                if epoch == fail_in:
                    raise RuntimeError("out of memory")
            self.call_hooks("on_train_epoch_end")
            self.trainer.metrics = {"mAP": 0.5}
            self.call_hooks("on_model_save")
            self.call_hooks("on_fit_epoch_end")
        self.trainer.epoch += 1  # the final validation
        self.call_hooks("on_fit_epoch_end")
        self.trainer.epoch -= 1
        self.call_hooks("on_train_end")


def test_ultralytics_one_epoch_too_many_at_the_end_is_not_counted(directory: Path):
    model = Yolo()
    add_callbacks(model, "coco8")
    model.train()
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step") == EPOCHS
    assert of(lines, "end", "status", "epochs", "batch_size", "framework") == [("finished", 3, 16, "ultralytics")]
    assert of(lines, "checkpoint", "epoch") == [(1,), (2,), (3,)]


class Board:
    """TensorBoard's writer, as far as scalars go."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))


def test_ultralytics_dollars_go_to_the_open_board_and_not_into_its_metrics(directory: Path, monkeypatch):
    write_cost(directory, "r", cost_usd=1.5)
    model, metrics_seen, board = Yolo(), [], Board()
    monkeypatch.setitem(sys.modules, "ultralytics.utils.callbacks.tensorboard", SimpleNamespace(WRITER=board))
    add_callbacks(model, "coco8", id="r")
    model.add_callback("on_fit_epoch_end", lambda trainer: metrics_seen.append(dict(trainer.metrics)))
    model.train()
    assert metrics_seen == [{"mAP": 0.5}] * 4
    assert board.scalars == [("epochcost/cost_usd", 1.5, epoch) for epoch in (1, 2, 3)]


def test_ultralytics_over_several_gpus_warns_that_it_is_not_reported(directory: Path, caplog):
    model = Yolo(ddp=True)
    add_callbacks(model, "coco8")
    model.train()
    assert not list(directory.glob("*.jsonl"))
    assert "epochcost exec" in caplog.text


def test_ultralytics_failing_and_resuming(directory: Path):
    model = Yolo()
    add_callbacks(model, "coco8", id="r")
    with pytest.raises(RuntimeError):
        model.train(fail_in=2)
    again = Yolo(start=2)
    add_callbacks(again, "coco8", id="r")
    again.train()
    failed_attempt, resumed = attempts(directory)
    assert of(failed_attempt, "end", "status", "epoch") == [("failed", 2.2)]
    assert of(resumed, "resume", "epoch", "step") == [(2, 10)]
    assert of(resumed, "epoch_end", "epoch", "step") == [(3, 15)]


class Streamlined:
    """Composer's engine: a method for each event, called with its state and logger; times are values with units."""

    def __init__(
        self, callback: ComposerHooks, *, duration: tuple[int, str] = (3, "ep"), length: int | None = 5
    ) -> None:
        self.callback, self.length = callback, length
        self.logged: list[dict[str, float]] = []
        self.logger = SimpleNamespace(log_metrics=self.logged.append)
        count = {"epoch": 0, "batch": 0, "batch_in_epoch": 0}
        self.state = SimpleNamespace(
            timestamp=SimpleNamespace(**{name: SimpleNamespace(value=value) for name, value in count.items()}),
            max_duration=SimpleNamespace(value=duration[0], unit=SimpleNamespace(value=duration[1])),
            dataloader_len=None if length is None else SimpleNamespace(value=length),
            train_dataloader=SimpleNamespace(batch_size=8, dataset=range(40)),
        )

    def call_hooks(self, event: str) -> None:
        getattr(self.callback, event)(self.state, self.logger)

    def fit(self, batches: int) -> None:
        at = self.state.timestamp
        self.call_hooks("fit_start")
        while at.batch.value < batches:
            if not at.batch_in_epoch.value:
                self.call_hooks("epoch_start")
            at.batch.value += 1
            at.batch_in_epoch.value += 1
            self.call_hooks("batch_end")
            if at.batch_in_epoch.value == 5:
                at.epoch.value, at.batch_in_epoch.value = at.epoch.value + 1, 0
                self.call_hooks("epoch_end")
                self.call_hooks("eval_start")
                self.call_hooks("eval_end")
        self.call_hooks("fit_end")


def test_composer(directory: Path):
    write_cost(directory, "r", cost_usd=2.0, cost_per_epoch_usd=0.5)
    engine = Streamlined(ComposerHooks("mpt", id="r"))
    engine.fit(15)
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step", "steps") == [(1, 5, 5), (2, 10, 5), (3, 15, 5)]
    assert of(lines, "end", "status", "epochs", "batch_size", "samples_per_epoch") == [("finished", 3, 8, 40)]
    assert engine.logged[0] == {"epochcost/cost_usd": 2.0, "epochcost/cost_per_epoch_usd": 0.5}
    assert [phase for (phase,) in of(lines, "phase", "phase")].count("eval") == 3


def test_composer_planned_in_batches_over_a_stream_has_nominal_epochs_only(directory: Path):
    Streamlined(ComposerHooks("mpt"), duration=(12, "ba"), length=None).fit(12)
    Streamlined(ComposerHooks("mpt", steps_per_epoch=8), duration=(12, "ba"), length=None).fit(12)
    plain, nominal = attempts(directory)
    assert of(plain, "epoch_end") == []
    assert of(plain, "end", "unit", "epoch", "step") == [("step", None, 12)]
    assert of(nominal, "epoch_end", "epoch", "step") == [(1, 8)]
    assert of(nominal, "end", "epoch", "step", "epochs") == [(1.5, 12, 1.5)]


def test_composers_checkpoint_restores_id_and_position(directory: Path):
    first = ComposerHooks("mpt")
    engine = Streamlined(first)
    engine.fit(10)
    state = first.state_dict()
    second = ComposerHooks("mpt")
    second.load_state_dict(state)
    again = Streamlined(second)
    again.state.timestamp.epoch.value, again.state.timestamp.batch.value = 2, 10
    again.fit(15)
    before, after = attempts(directory)
    assert before[0]["run"] == after[0]["run"]
    assert of(after, "resume", "epoch", "step") == [(2, 10)]
    assert of(after, "epoch_end", "epoch", "step") == [(3, 15)]


def keras_fit(
    hooks: KerasHooks, epochs: int, steps: int | None = 5, *, first: int = 0, logs: dict | None = None
) -> None:
    hooks.params, hooks.model = {"epochs": epochs, "steps": steps}, SimpleNamespace(optimizer=None)
    hooks.on_train_begin()
    for epoch in range(first, epochs):
        hooks.on_epoch_begin(epoch)
        for batch in range(5):
            hooks.on_train_batch_end(batch)
        hooks.on_test_begin()
        hooks.on_test_end()
        hooks.on_epoch_end(epoch, logs)
    hooks.on_train_end()


def test_keras_where_the_length_shows_only_after_the_first_epoch(directory: Path):
    keras_fit(KerasHooks("net"), 3, None)
    assert of(events(directory), "epoch_end", "epoch", "step") == EPOCHS


def test_a_failing_hook_logs_one_warning_and_affects_nothing(directory: Path, caplog):
    hooks = KerasHooks("net")
    hooks.on_epoch_begin(0)  # no params: never called so by Keras
    hooks.on_epoch_begin(1)
    assert caplog.text.count("part of this run is not reported") <= 1
    keras_fit(hooks, 3)
    assert of(events(directory), "epoch_end", "epoch", "step") == EPOCHS


def test_an_interrupted_fit_is_marked_failed_when_the_next_begins(directory: Path):
    hooks = KerasHooks("net")
    hooks.params, hooks.model = {"epochs": 3, "steps": 5}, None
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    hooks.on_train_batch_end(0)
    keras_fit(hooks, 3)
    failed_attempt, complete_attempt = attempts(directory)
    assert of(failed_attempt, "end", "status") == [("failed",)]
    assert of(complete_attempt, "end", "status", "epoch") == [("finished", 3)]


def test_a_callback_joins_the_run_that_the_program_has_open(directory: Path):
    with epochcost.run("mine", epochs=7, batch_size=9) as run:
        keras_fit(KerasHooks("net"), 3)
        assert run.epoch == 3
    lines = events(directory)
    assert of(lines, "epoch_end", "epoch", "step") == EPOCHS
    assert of(lines, "end", "experiment", "epochs", "batch_size", "framework") == [("mine", 7, 9, "keras")]


@pytest.fixture
def wandb(monkeypatch) -> list[tuple[dict[str, float], bool]]:
    """What a program's open run of Weights & Biases is given."""
    rows: list[tuple[dict[str, float], bool]] = []
    run = SimpleNamespace(log=lambda values, commit=True: rows.append((dict(values), commit)))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))
    return rows


def test_keras_logs_are_left_alone_and_the_programs_tracker_gets_the_dollars(directory: Path, wandb):
    write_cost(directory, "r", cost_usd=2.0, projected_cost_usd=6.0)
    logs: dict[str, float] = {"loss": 0.5}
    keras_fit(KerasHooks("net", id="r"), 1, logs=logs)
    assert logs == {"loss": 0.5}
    assert wandb == [({"epochcost/cost_usd": 2.0, "epochcost/projected_cost_usd": 6.0}, False)]


@pytest.mark.parametrize("setting", ["argument", "variable"])
def test_a_switch_keeps_dollars_out_of_every_logger(directory: Path, wandb, monkeypatch, setting: str):
    write_cost(directory, "r", cost_usd=2.0)
    if setting == "variable":
        monkeypatch.setenv("EPOCHCOST_LOG_COSTS", "0")
    keras_fit(KerasHooks("net", id="r", log_costs=setting == "variable"), 1)
    assert wandb == []


def test_a_failing_tracker_logs_one_warning_and_the_fit_continues(directory: Path, monkeypatch, caplog):
    def failing_log(values: dict[str, float], commit: bool = True) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=SimpleNamespace(log=failing_log)))
    monkeypatch.setattr("epochcost.training.warning._warned", set())
    write_cost(directory, "r", cost_usd=2.0)
    keras_fit(KerasHooks("net", id="r"), 3)
    assert caplog.text.count("costs are not logged to wandb") == 1
    assert of(events(directory), "end", "status", "epoch") == [("finished", 3)]


def test_hugging_face_without_length_reports_steps_alone(directory: Path):
    hooks = HuggingFaceHooks("net")
    args = SimpleNamespace(world_size=1, gradient_accumulation_steps=1, train_batch_size=4)
    state = SimpleNamespace(global_step=0, max_steps=12, log_history=[], stateful_callbacks={})
    hooks.on_train_begin(args, state, None, train_dataloader=iter(()))
    for epoch in range(3):
        hooks.on_epoch_begin(args, state, None)
        for _ in range(4):
            state.global_step += 1
            state.epoch = state.global_step / 12  # the whole run as one epoch
            hooks.on_step_end(args, state, None)
        assert epoch < 3
    hooks.on_train_end(args, state, None)
    lines = events(directory)
    assert not [line for line in lines if "epoch" in line]
    assert of(lines, "end", "step", "unit") == [(12, "step")]


class Handler:
    """The Trainer's: calls each hook of each callback in its list, from a method of its own."""

    def __init__(self, *callbacks: Any) -> None:
        self.callbacks = list(callbacks)

    def call(self, event: str, *values: Any, **more: Any) -> None:
        for callback in self.callbacks:
            if hasattr(callback, event):
                getattr(callback, event)(*values, **more)


def logger_named(module: str, rows: list[dict[str, float]], name: str = "TensorBoardCallback") -> Any:
    """A callback of the Trainer that logs, made in ``module``."""

    def on_log(self: object, args: object, state: object, control: object, logs: dict, **more: Any) -> None:
        rows.append(dict(logs))
        logs["epoch"] = 1.0  # what it does with them does not matter here

    return type(name, (), {"on_log": on_log, "__module__": module})()


def test_hugging_face_loggers_get_dollars_of_their_own_and_the_trainers_logs_stay(directory: Path):
    write_cost(directory, "r", cost_usd=2.0)
    trainer_logs: list[dict[str, float]] = []
    other_logs: list[dict[str, float]] = []
    hooks = HuggingFaceHooks("net", id="r")
    integrations = "transformers.integrations.integration_utils"
    counts_calls = logger_named(integrations, other_logs, "DVCLiveCallback")  # each call is a step of its own
    handler = Handler(logger_named(integrations, trainer_logs), hooks, logger_named("mine", other_logs), counts_calls)
    args = SimpleNamespace(world_size=1, gradient_accumulation_steps=1, train_batch_size=4)
    state = SimpleNamespace(global_step=0, max_steps=5, log_history=[{"loss": 1.0}], stateful_callbacks=None)
    handler.call("on_train_begin", args, state, None, train_dataloader=range(5))
    logs = {"loss": 1.0}
    hooks.on_log(args, state, None, logs)
    assert trainer_logs == [{"epochcost/cost_usd": 2.0}]
    assert other_logs == []
    assert logs == state.log_history[0] == {"loss": 1.0}


@pytest.mark.parametrize("before", [None, 500])
def test_hugging_face_tokens_that_trl_counts_are_the_runs(directory: Path, before: int | None):
    hooks = HuggingFaceHooks("net", id="r")
    args = SimpleNamespace(world_size=1, gradient_accumulation_steps=1, train_batch_size=4)
    state = SimpleNamespace(global_step=0, max_steps=5, log_history=[], stateful_callbacks=None)
    if before is not None:
        hooks._epochcost.load_state_dict({"v": 1, "run": "r", "epoch": 1, "step": 5, "tokens": before})
    hooks.on_train_begin(args, state, None, train_dataloader=range(5))
    for count in (100.0, 220.0, float("nan"), "many", None, True, -3):
        hooks.on_log(args, state, None, {"num_tokens": count})
    hooks.on_train_end(args, state, None)
    assert of(events(directory), "end", "tokens") == [((before or 0) + 220,)]


def test_hugging_face_attached_is_first_in_the_trainers_list(directory: Path):
    hooks = HuggingFaceHooks("net", id="r")
    trainer = SimpleNamespace(callback_handler=Handler("TensorBoard"))
    hooks.attach(trainer)
    assert trainer.callback_handler.callbacks == [hooks, "TensorBoard"]


def test_lightning_manual_steps_do_not_invent_epochs(directory: Path):
    hooks = LightningHooks("gan")
    module = SimpleNamespace(automatic_optimization=False)
    progress = SimpleNamespace(current=SimpleNamespace(completed=0), is_last_batch=False)
    trainer = SimpleNamespace(
        local_rank=0, global_rank=0, node_rank=0, num_nodes=1, world_size=1, current_epoch=0, global_step=0,
        num_training_batches=5, accumulate_grad_batches=1, limit_train_batches=1.0, overfit_batches=0.0,
        max_epochs=3, max_steps=-1, sanity_checking=True, is_global_zero=True, loggers=[],
        train_dataloader=SimpleNamespace(batch_size=2, dataset=range(10)),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )  # fmt: skip
    hooks.on_fit_start(trainer, module)
    hooks.on_validation_start(trainer, module)  # the sanity check
    hooks.on_validation_end(trainer, module)
    trainer.sanity_checking = False
    hooks.on_train_start(trainer, module)
    for epoch in range(3):
        trainer.current_epoch = epoch
        progress.current.completed = 0
        hooks.on_train_epoch_start(trainer, module)
        for index in range(5):
            trainer.global_step += 2  # two optimisers
            hooks.on_train_batch_end(trainer, module, None, None, index)
        progress.is_last_batch = True
        hooks.on_save_checkpoint(trainer, module, {})
        hooks.on_train_epoch_end(trainer, module)
    hooks.on_fit_end(trainer, module)
    lines = events(directory)
    assert next(phase for (phase,) in of(lines, "phase", "phase")) == "train"
    assert of(lines, "epoch_end", "epoch", "step") == [(1, 10), (2, 20), (3, 30)]
    assert of(lines, "checkpoint", "epoch") == [(1,), (2,), (3,)]
    assert all(float(str(epoch)) <= 3 for (epoch,) in of(lines, "progress", "epoch"))


def test_fastai_segments_and_skipped_epochs(directory: Path):
    hooks = FastaiHooks("pets")
    loader = SimpleNamespace(bs=8, n=40, drop_last=False)
    hooks.learn = SimpleNamespace(dls=SimpleNamespace(train=loader), cbs=[], training=True, train_iter=0)
    for epochs in (1, 2):
        hooks.learn.n_epoch = epochs
        for epoch in range(epochs):
            hooks.learn.epoch = epoch
            hooks.before_train()
            for index in range(5):
                hooks.learn.iter = index
                hooks.after_step()
                hooks.after_batch()
            hooks.after_epoch()
        hooks.after_epoch()  # of an epoch that was skipped
        hooks.after_fit()
    first, second = attempts(directory)
    assert first[0]["run"] == second[0]["run"]
    assert of(first + second, "epoch_end", "epoch", "step") == EPOCHS
    assert of(second, "end", "epochs", "status") == [(3, "finished")]


def test_a_framework_that_is_missing_is_named(directory: Path):
    with pytest.raises(ImportError, match="composer"):
        epochcost.composer_callback("mpt")


def test_an_unknown_argument_is_an_error_at_the_users_line():
    with pytest.raises(TypeError, match="epoch_count"):
        UltralyticsHooks("x", epoch_count=3)


def test_a_callback_in_the_middle_of_a_fit_can_be_copied_and_pickled(directory: Path):
    class Holds(SimpleNamespace):
        """Another callback, as TensorBoard's with its open file: not to be copied along."""

        def __reduce__(self):
            raise TypeError("cannot pickle an open file")

    hooks = HuggingFaceHooks("net", id="r")
    handler = Handler(Holds(), hooks)
    args = SimpleNamespace(world_size=1, gradient_accumulation_steps=1, train_batch_size=4)
    state = SimpleNamespace(global_step=0, max_steps=5, log_history=[], stateful_callbacks=None)
    handler.call("on_train_begin", args, state, None, train_dataloader=range(5))
    assert len(list(hooks._siblings)) == 2
    for copied in (copy.deepcopy(hooks), pickle.loads(pickle.dumps(hooks))):
        state.global_step += 1
        copied.on_step_end(args, state, None)
        copied.on_train_end(args, state, None)
    assert of(events(directory), "end") == []
    hooks.on_train_end(args, state, None)
    assert of(events(directory), "end", "status") == [("finished",)]


def test_callbacks_beside_ours_are_not_kept_alive(directory: Path):
    class Other:
        pass

    hooks = HuggingFaceHooks("net", id="r")
    handler = Handler(Other(), hooks)
    args = SimpleNamespace(world_size=1, gradient_accumulation_steps=1, train_batch_size=4)
    state = SimpleNamespace(global_step=0, max_steps=5, log_history=[], stateful_callbacks=None)
    handler.call("on_train_begin", args, state, None, train_dataloader=range(5))
    handler.callbacks.pop(0)
    assert list(hooks._siblings) == [hooks]
