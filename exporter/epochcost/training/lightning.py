"""PyTorch Lightning: ``Trainer(callbacks=[EpochcostCallback("char-lm")])``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.lazy import callback_class_getter
from epochcost.training.loops import known_length
from epochcost.training.trackers import harmlessly


class LightningHooks:
    """Reports fits of a Lightning trainer; the arguments are those of ``epochcost.run``.

    A step is an optimiser step (``trainer.global_step``), an epoch includes its validation. The run's id and position
    travel in Lightning's own checkpoints.
    """

    def __init__(self, experiment: str = "", **arguments: Any) -> None:
        super().__init__()
        self._epochcost = Fit("lightning", UserArgs(experiment, **arguments))

    @harmless
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The fit begins; loaders and checkpoints are not there yet."""
        self._epochcost.begin(_of_job(trainer, trainer.local_rank), _announce)

    @harmless
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Everything is loaded; the sanity check is over."""
        fit = self._epochcost
        fit.set_position(trainer.current_epoch, trainer.global_step)
        fit.update_info(_framework_info(trainer, pl_module))

    @harmless
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins, or continues after a checkpoint within it."""
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        self._epochcost.log(_logged, trainer)
        self._begin_epoch(trainer, done)

    @harmless
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A batch begins; after a checkpoint within an epoch there is no hook for its continuation."""
        if not self._epochcost.epoch_open and self._epochcost.active:
            self._begin_epoch(trainer, batch_idx)

    @harmless
    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """A batch is done, and with the last of an accumulation a step."""
        if self._epochcost.line_is_due:
            self._epochcost.log(_logged, trainer)
        self._epochcost.step_to(trainer.global_step, batch_idx + 1)

    @harmless
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Validation within the fit; the sanity check before it is start-up."""
        if self._epochcost.active and not trainer.sanity_checking:
            self._epochcost.phase("eval")

    @harmless
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Back to training."""
        if self._epochcost.active and not trainer.sanity_checking:
            self._epochcost.log(_logged, trainer)
            self._epochcost.phase("train")

    @harmless
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch ends, its validation included; one that ``max_steps`` or a stop interrupted does not count."""
        fit = self._epochcost
        loop = trainer.fit_loop.epoch_loop.batch_progress
        fit.end_epoch(trainer.current_epoch + 1, whole=bool(loop.is_last_batch))
        self._stop(trainer)
        costs = fit.costs()
        if costs and trainer.is_global_zero:
            step = _loggers_step(trainer)
            for logger in trainer.loggers:
                harmlessly(type(logger).__name__, logger.log_metrics, costs, step=step)

    @harmless
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The fit is interrupted."""
        self._epochcost.fail(exception)

    @harmless
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The fit is over."""
        self._epochcost.log(_logged, trainer)
        self._epochcost.end()

    @harmless
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """A checkpoint is about to be written."""
        self._epochcost.saving()
        self._stop(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Into Lightning's checkpoint."""
        return self._epochcost.state_dict()

    @harmless
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Out of Lightning's checkpoint."""
        self._epochcost.load_state_dict(state_dict)

    def _stop(self, trainer: Any) -> None:
        """If the guard requests it: at a checkpoint, or the end of an epoch."""
        if self._epochcost.stop_requested():
            trainer.should_stop = True

    def _begin_epoch(self, trainer: Any, batches_done: int) -> None:
        done = batches_done // max(1, trainer.accumulate_grad_batches)
        self._epochcost.begin_epoch(trainer.current_epoch, done, batches_done)


def _logged(trainer: Any) -> dict[str, Any]:
    """What the module has logged, as Lightning last stored it.

    Its ``callback_metrics`` computes what is not computed yet, which involves all processes: that is not used.
    """
    known = getattr(getattr(trainer, "_logger_connector", None), "_callback_metrics", None) or {}
    return {
        name: value
        for name, value in known.items()
        if not (name.endswith(("_step", "_epoch")) and name.rpartition("_")[0] in known)
    }


def _loggers_step(trainer: Any) -> int:
    """Where Lightning itself draws the metrics of an epoch that ends: at the last batch that stepped."""
    stepped = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", None)
    return int(trainer.global_step if stepped is None else max(0, stepped - 1))


def _framework_info(trainer: Any, pl_module: Any) -> FrameworkInfo:
    batches = trainer.num_training_batches
    batches = None if not batches or math.isinf(batches) else int(batches)
    every = max(1, trainer.accumulate_grad_batches)
    # By hand, a batch may make several steps or none: the number of steps in an epoch is unknown.
    steps = math.ceil(batches / every) if batches and pl_module.automatic_optimization else None
    loader = trainer.train_dataloader
    size = _size(loader)
    limited = trainer.limit_train_batches not in (1.0, None) or trainer.overfit_batches
    return FrameworkInfo(
        epochs=_planned(trainer, steps),
        batch_size=size * every * trainer.world_size if size else None,
        samples_per_epoch=None if limited else known_length(getattr(loader, "dataset", None)),
        batches=batches,
        steps=steps,
        rank=_of_job(trainer, trainer.global_rank),
        local_rank=_of_job(trainer, trainer.local_rank),
        node_rank=_of_job(trainer, trainer.node_rank),
        nodes=_of_job(trainer, trainer.num_nodes),
        world=_of_job(trainer, trainer.world_size),
    )


def _planned(trainer: Any, steps: int | None) -> float | None:
    plans: list[float] = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        plans.append(float(trainer.max_epochs))
    if steps and trainer.max_steps is not None and trainer.max_steps >= 0:
        plans.append(trainer.max_steps / steps)
    return min(plans, default=None)


def _size(loader: Any) -> int | None:
    for holder in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(holder, "batch_size", None)
        if isinstance(size, int):
            return size
    return None


def _of_job(trainer: Any, value: int) -> int | None:
    """What the trainer knows about its place in a job; alone, the launcher knows better."""
    return value if trainer.world_size > 1 else None


def _announce(line: str) -> None:
    zero = sys.modules.get("lightning.pytorch.utilities.rank_zero") or sys.modules.get(
        "pytorch_lightning.utilities.rank_zero"
    )
    if zero is not None:
        zero.rank_zero_info(line)


def _bases() -> tuple[type, ...]:
    # Both packages exist, with classes of their own; the one in use was imported before.
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        from pytorch_lightning.callbacks import Callback as Older

        return (Older,)
    from lightning.pytorch.callbacks import Callback

    return (Callback,)


__getattr__ = callback_class_getter(__name__, LightningHooks, _bases)
