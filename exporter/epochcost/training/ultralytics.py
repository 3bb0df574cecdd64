"""Ultralytics: ``add_callbacks(model, "coco8")`` before ``model.train(...)``."""

from __future__ import annotations

import sys
from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.loops import known_length
from epochcost.training.trackers import hand_over, harmlessly
from epochcost.training.warning import warn_once


def add_callbacks(model: Any, experiment: str = "", **arguments: Any) -> UltralyticsHooks:
    """Report what ``model.train`` does; the further arguments are those of ``epochcost.run``."""
    hooks = UltralyticsHooks(experiment, **arguments)
    for event in hooks.events:
        model.add_callback(event, getattr(hooks, event))
    return hooks


class UltralyticsHooks:
    """Functions for Ultralytics' events, each called with the trainer.

    A step is a batch: how many batches make an optimiser step changes during the warm-up. With several GPUs Ultralytics
    starts processes of its own without callbacks: one warning is logged, and nothing is reported.
    """

    events = (
        "on_pretrain_routine_start",
        "on_train_start",
        "on_train_epoch_start",
        "on_train_batch_end",
        "on_train_epoch_end",
        "on_model_save",
        "on_fit_epoch_end",
        "on_train_end",
        "teardown",
    )

    def __init__(self, experiment: str = "", **arguments: Any) -> None:
        self._epochcost = Fit("ultralytics", UserArgs(experiment, **arguments))
        self._steps = 0
        self._epoch_batches = 0

    @harmless
    def on_pretrain_routine_start(self, trainer: Any) -> None:
        """The trainer is being made."""
        if getattr(trainer, "ddp", False):
            warn_once(
                "ultralytics",
                "Ultralytics does not pass callbacks to its multi-GPU processes; run it under `epochcost exec` instead",
            )
            return
        self._epochcost.begin(None, _announce)

    @harmless
    def on_train_start(self, trainer: Any) -> None:
        """Data and model are there."""
        fit = self._epochcost
        if not fit.active:
            fit.begin(None, _announce)
        batches = known_length(trainer.train_loader)
        self._steps = trainer.start_epoch * (batches or 0)
        fit.set_position(trainer.start_epoch, self._steps)
        size = trainer.batch_size
        fit.update_info(
            FrameworkInfo(
                epochs=trainer.epochs,
                batch_size=size if isinstance(size, int) and size > 0 else None,
                samples_per_epoch=known_length(getattr(trainer.train_loader, "dataset", None)),
                batches=batches,
                steps=batches,
            )
        )

    @harmless
    def on_train_epoch_start(self, trainer: Any) -> None:
        """An epoch begins, or begins again after out-of-memory or NaN."""
        self._epoch_batches = 0
        self._epochcost.begin_epoch(trainer.epoch)

    @harmless
    def on_train_batch_end(self, trainer: Any) -> None:
        """A batch is done."""
        self._steps += 1
        self._epoch_batches += 1
        self._epochcost.step_to(self._steps, self._epoch_batches)

    @harmless
    def on_train_epoch_end(self, trainer: Any) -> None:
        """The training part is over; validation follows."""
        self._epochcost.phase("eval")

    @harmless
    def on_model_save(self, trainer: Any) -> None:
        """A checkpoint is on disk."""
        self._epochcost.saved()

    @harmless
    def on_fit_epoch_end(self, trainer: Any) -> None:
        """An epoch ends; Ultralytics calls this once more after its final validation, when none is open."""
        fit = self._epochcost
        if not fit.epoch_open:
            return
        fit.log(_metrics, trainer)
        fit.end_epoch(trainer.epoch + 1)
        _log(fit.costs(), trainer.epoch + 1)
        if fit.stop_requested():
            trainer.stop = True

    @harmless
    def on_train_end(self, trainer: Any) -> None:
        """The training is over."""
        self._epochcost.end()

    @harmless
    def teardown(self, trainer: Any) -> None:
        """Always called; what has not ended by now was interrupted."""
        error = sys.exc_info()[1]
        self._epochcost.end() if error is None else self._epochcost.fail(error)


def _metrics(trainer: Any) -> dict[str, Any]:
    """Of the epoch that ends: what Ultralytics writes to ``results.csv``."""
    losses = trainer.label_loss_items(trainer.tloss) if getattr(trainer, "tloss", None) is not None else {}
    return {**losses, **(getattr(trainer, "metrics", None) or {})}


def _log(costs: dict[str, float], epoch: int) -> None:
    """To the loggers that Ultralytics has open; ``trainer.metrics`` is also what is written to ``results.csv``."""
    board: Any = getattr(sys.modules.get("ultralytics.utils.callbacks.tensorboard"), "WRITER", None)
    for name, value in costs.items() if board is not None else ():
        harmlessly("TensorBoard", board.add_scalar, name, value, epoch)
    hand_over(costs, epoch)


def _announce(line: str) -> None:
    from ultralytics.utils import LOGGER

    LOGGER.info(line)
