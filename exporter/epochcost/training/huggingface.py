"""Hugging Face Trainer: ``Trainer(..., callbacks=[EpochcostCallback("bert")])``."""

from __future__ import annotations

import math
import sys
from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.fit_call import SiblingCallbacks
from epochcost.training.lazy import callback_class_getter
from epochcost.training.loops import known_length
from epochcost.training.trackers import harmlessly

LOGGERS = {
    "TensorBoardCallback", "MLflowCallback", "DagsHubCallback", "CometCallback", "NeptuneCallback", "ClearMLCallback",
    "SwanLabCallback", "AzureMLCallback",
}  # fmt: skip
"""The Trainer's integrations that log by the Trainer's step; others count a step of their own for each call."""


COLUMNS = {
    "epochcost/cost_usd": "Dollars so far",
    "epochcost/cost_per_epoch_usd": "Dollars per Epoch",
    "epochcost/projected_cost_usd": "Projected Dollars",
}
"""In the table that the Trainer shows in notebooks."""


class HuggingFaceHooks:
    """Reports a Trainer's training; the arguments are those of ``epochcost.run``.

    A step is an optimiser step (``state.global_step``); an epoch includes the evaluation and the saving at its end. A
    dataset without length has no epochs: steps alone are reported, or nominal epochs of ``steps_per_epoch`` steps.
    """

    def __init__(self, experiment: str = "", **arguments: Any) -> None:
        super().__init__()
        self._user_args = UserArgs(experiment, **arguments)
        self._epochcost = Fit("transformers", self._user_args, call=("transformers", ("train",)))
        self._siblings = SiblingCallbacks()
        self._logged_step = -1
        self._table_costs: dict[str, float] = {}
        self._table_rows = 0
        self._steps_per_epoch = 0
        self._batches_per_epoch = 0
        self._evaluating = False

    def attach(self, trainer: Any) -> None:
        """Instead of ``callbacks=[...]``: first in the trainer's list, so that W&B gets them in one row."""
        trainer.callback_handler.callbacks.insert(0, self)

    @harmless
    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """The training begins, perhaps from a checkpoint."""
        fit, alone = self._epochcost, args.world_size <= 1
        self._siblings, self._logged_step, self._evaluating = SiblingCallbacks(self), -1, False
        loader = more.get("train_dataloader")
        self._batches_per_epoch = known_length(loader) or 0
        self._steps_per_epoch = (
            max(1, math.ceil(self._batches_per_epoch / args.gradient_accumulation_steps))
            if self._batches_per_epoch
            else 0
        )
        if state.global_step:
            fit.load_state_dict(_saved(state))
        trial = bool(getattr(state, "is_hyper_param_search", False))
        fit.begin(None if alone else args.local_process_index, _announce, new_trial=trial)
        epoch, done = divmod(state.global_step, self._steps_per_epoch) if self._steps_per_epoch else (0, 0)
        fit.set_position(epoch, state.global_step, done / self._steps_per_epoch if self._steps_per_epoch else 0.0)
        steps = self._steps_per_epoch or self._user_args.steps_per_epoch
        fit.update_info(
            FrameworkInfo(
                epochs=state.max_steps / steps if steps else None,
                batch_size=_device_batch(args, state) * args.gradient_accumulation_steps * args.world_size,
                samples_per_epoch=known_length(getattr(loader, "dataset", None)),
                steps=self._steps_per_epoch or None,
                rank=None if alone else args.process_index,
                local_rank=None if alone else args.local_process_index,
                world=None if alone else args.world_size,
            )
        )
        if not self._steps_per_epoch:
            fit.begin_steps()

    @harmless
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """The epoch before ends only now: its evaluation and saving came after its ``on_epoch_end``."""
        if not self._steps_per_epoch:
            return
        self._finish(state)
        number, done = divmod(state.global_step, self._steps_per_epoch)
        self._epochcost.begin_epoch(number, done)

    @harmless
    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """An optimiser step is done; what follows may be a checkpoint."""
        self._epochcost.step_to(state.global_step)
        self._stop(args, control, saves=str(getattr(args.save_strategy, "value", args.save_strategy)) != "no")
        self._before_saving(control)
        if self._table_costs:
            self._to_tables()

    @harmless
    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Evaluation and saving follow: the epoch ends only when the next begins, or the training ends."""
        self._stop(args, control, saves=True, epoch_ends=True)
        self._before_saving(control)

    @harmless
    def on_prediction_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A batch of an evaluation, which has no hook at its beginning."""
        if self._epochcost.active and not self._evaluating:
            self._evaluating = True
            self._epochcost.phase("eval")

    @harmless
    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """An evaluation is over."""
        if self._epochcost.active and self._evaluating:
            self._evaluating = False
            self._epochcost.phase("checkpoint" if getattr(control, "should_save", False) else "train")

    @harmless
    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A checkpoint is on disk."""
        self._epochcost.saved()
        if self._epochcost.active:
            self._epochcost.phase("train")

    @harmless
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Dollars for the trainer's loggers, beside what it logs: its own dictionaries are read by others too."""
        if isinstance(logs, dict):
            self._epochcost.tokens_to(logs.get("num_tokens"))  # TRL's, over all ranks
            self._epochcost.log(dict, logs)
        costs = self._epochcost.costs() if state.global_step != self._logged_step else {}
        if costs:  # once a step: an evaluation and the end of the training log at the same one
            self._logged_step = state.global_step
        for logger in self._siblings if costs else ():
            _log(logger, costs, args, state, control, more)
        if costs and (tables := [table for one in self._siblings if (table := _table(one)) is not None]):
            self._table_costs, self._table_rows = costs, len(tables[0].inner_table or ())

    @harmless
    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """The training is over."""
        self._to_tables()
        self._finish(state)
        self._epochcost.end()

    def state(self) -> dict[str, Any]:
        """Into ``trainer_state.json``: how the Trainer recreates the callback, and the run's position."""
        return {"args": self._user_args.plain(), "attributes": {"epochcost_state": self._epochcost.state_dict()}}

    def _stop(self, args: Any, control: Any, *, saves: bool, epoch_ends: bool = False) -> None:
        """If the guard requests it: a checkpoint now, and no further step; without checkpoints, when the epoch ends."""
        if not (saves and self._epochcost.stop_requested()) or control.should_training_stop:
            return
        control.should_training_stop = True
        control.should_save = control.should_save or not epoch_ends

    def _to_tables(self) -> None:
        """Dollars into the row that a notebook's table got since: its own callback comes after this one."""
        for table in [shown_table for one in self._siblings if (shown_table := _table(one)) is not None]:
            rows: list[list[Any]] = table.inner_table or []
            if self._table_costs and len(rows) > self._table_rows > 0:
                row = {rows[0][0]: rows[-1][0]}
                row.update({COLUMNS[name]: f"{usd:.4g}" for name, usd in self._table_costs.items() if name in COLUMNS})
                harmlessly("the notebook's table", table.write_line, row)
                self._table_costs = {}

    def _before_saving(self, control: Any) -> None:
        """The Trainer saves next where it does not evaluate before."""
        saves = getattr(control, "should_save", False) and not getattr(control, "should_evaluate", False)
        if saves and self._epochcost.active:
            self._epochcost.phase("checkpoint")

    def _finish(self, state: Any) -> None:
        number, over = divmod(state.global_step, self._steps_per_epoch) if self._steps_per_epoch else (0, 0)
        if self._epochcost.epoch_open:
            self._epochcost.end_epoch(number, whole=over == 0 and self._epochcost.steps_in_epoch > 0)


def _saved(state: Any) -> dict[str, Any]:
    """What an `EpochcostCallback` put into ``trainer_state.json``; its position is the Trainer's own."""
    states = state.stateful_callbacks
    saved_callback = states.get("EpochcostCallback") if isinstance(states, dict) else None
    saved_callback = saved_callback[0] if isinstance(saved_callback, list) and saved_callback else saved_callback
    run_state = (
        saved_callback.get("attributes", {}).get("epochcost_state") if isinstance(saved_callback, dict) else None
    )
    return run_state if isinstance(run_state, dict) else {}


def _device_batch(args: Any, state: Any) -> int:
    """Samples of a batch over this process's devices: after running out of memory the Trainer's own state knows."""
    reduced = getattr(state, "train_batch_size", None) if getattr(args, "auto_find_batch_size", False) else None
    return reduced if isinstance(reduced, int) and reduced > 0 else int(args.train_batch_size)


def _table(callback: Any) -> Any:
    """The table of the Trainer's own callback for notebooks, while it trains."""
    kind = type(callback)
    if kind.__name__ != "NotebookProgressCallback" or not kind.__module__.startswith("transformers."):
        return None
    return getattr(callback, "training_tracker", None)


def _log(logger: Any, costs: dict[str, float], args: Any, state: Any, control: Any, more: dict[str, Any]) -> None:
    """By the logger's own hook, if it is one of the Trainer's integrations; W&B gets them with its next row."""
    kind = type(logger)
    if not kind.__module__.startswith("transformers.integrations"):
        return
    run = getattr(sys.modules.get("wandb"), "run", None) if kind.__name__ == "WandbCallback" else None
    if run is not None:
        renamed = {f"train/{name}": usd for name, usd in costs.items()}  # as the Trainer names what it logs
        harmlessly("wandb", run.log, renamed, commit=False)
    if kind.__name__ in LOGGERS:
        harmlessly(kind.__name__, logger.on_log, args, state, control, logs=dict(costs), **more)


def _announce(line: str) -> None:
    _logger().info(line)


def _logger() -> Any:
    from transformers.utils import logging

    return logging.get_logger("transformers.epochcost")


_announce.wanted = lambda: _logger().isEnabledFor(20)  # type: ignore[attr-defined]  # logging.INFO


def _bases() -> tuple[type, ...]:
    from transformers.trainer_callback import ExportableState, TrainerCallback

    return (TrainerCallback, ExportableState)


__getattr__ = callback_class_getter(__name__, HuggingFaceHooks, _bases)
