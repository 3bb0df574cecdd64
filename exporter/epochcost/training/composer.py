"""MosaicML Composer: ``Trainer(..., callbacks=[EpochcostCallback("mpt")])``."""

from __future__ import annotations

from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.lazy import callback_class_getter
from epochcost.training.loops import known_length


class ComposerHooks:
    """Reports Composer's fits; the arguments are those of ``epochcost.run``.

    Composer's batch is one optimiser step over all ranks, its microbatches included. The run's id and position travel
    in Composer's own checkpoints.
    """

    def __init__(self, experiment: str = "", **arguments: Any) -> None:
        super().__init__()
        self._user_args = UserArgs(experiment, **arguments)
        self._epochcost = Fit("composer", self._user_args, call=("composer", ("fit",)))
        self._batches_per_epoch = 0

    @harmless
    def fit_start(self, state: Any, logger: Any) -> None:
        """The fit begins; a checkpoint was loaded before."""
        fit, at = self._epochcost, state.timestamp
        fit.begin()
        self._batches_per_epoch = _value(state.dataloader_len) or 0
        done = at.batch_in_epoch.value
        fit.set_position(
            at.epoch.value, at.batch.value, done / self._batches_per_epoch if self._batches_per_epoch else 0.0
        )
        fit.update_info(self._framework_info(state))
        if not self._batches_per_epoch:
            fit.begin_steps()

    @harmless
    def epoch_start(self, state: Any, logger: Any) -> None:
        """An epoch begins."""
        if self._batches_per_epoch:
            self._epochcost.begin_epoch(state.timestamp.epoch.value, state.timestamp.batch_in_epoch.value)

    @harmless
    def batch_end(self, state: Any, logger: Any) -> None:
        """An optimiser step is done."""
        at = state.timestamp
        if self._epochcost.line_is_due:
            self._epochcost.log(_loss, state)
        self._epochcost.step_to(at.batch.value, at.batch_in_epoch.value if self._batches_per_epoch else None)

    @harmless
    def eval_start(self, state: Any, logger: Any) -> None:
        """Evaluation within the fit."""
        if self._epochcost.active:
            self._epochcost.phase("eval")

    @harmless
    def eval_end(self, state: Any, logger: Any) -> None:
        """Back to training."""
        if self._epochcost.active:
            self._epochcost.log(_metrics, state)
            self._epochcost.phase("train")

    @harmless
    def epoch_end(self, state: Any, logger: Any) -> None:
        """An epoch ends; by now Composer's own count has moved on to the next."""
        self._epochcost.log(_metrics, state)
        if self._batches_per_epoch:
            self._epochcost.end_epoch(state.timestamp.epoch.value)
        costs = self._epochcost.costs()
        if costs:
            logger.log_metrics(costs)
        if self._epochcost.stop_requested():
            state.stop_training()

    @harmless
    def fit_end(self, state: Any, logger: Any) -> None:
        """The fit is over."""
        self._epochcost.end()

    @harmless
    def close(self, state: Any, logger: Any) -> None:
        """The trainer is closed; a fit that is not over by now was interrupted."""
        self._epochcost.end("failed")

    def state_dict(self) -> dict[str, Any]:
        """Into Composer's checkpoint, which is being saved now."""
        self._epochcost.saving()
        return self._epochcost.state_dict()

    @harmless
    def load_state_dict(self, state: Any) -> None:
        """Out of Composer's checkpoint."""
        self._epochcost.load_state_dict(state)

    def _framework_info(self, state: Any) -> FrameworkInfo:
        size = getattr(state.train_dataloader, "batch_size", None)
        world = _world()
        return FrameworkInfo(
            epochs=self._planned(state),
            batch_size=size * (world or 1) if isinstance(size, int) else None,
            samples_per_epoch=known_length(getattr(state.train_dataloader, "dataset", None)),
            batches=self._batches_per_epoch or None,
            steps=self._batches_per_epoch or None,
            world=world if world and world > 1 else None,
        )

    def _planned(self, state: Any) -> float | None:
        planned = state.max_duration
        length = self._batches_per_epoch or self._user_args.steps_per_epoch
        if planned is None:
            return None
        unit = str(getattr(planned.unit, "value", planned.unit))
        if unit == "ep":
            return float(planned.value)
        return planned.value / length if unit == "ba" and length else None


def _loss(state: Any) -> dict[str, Any]:
    loss = state.loss
    return loss if isinstance(loss, dict) else {"loss": loss}


def _metrics(state: Any) -> dict[str, Any]:
    """What was computed last, of the training and of the evaluations."""
    trained = {f"train/{name}": value for name, value in getattr(state, "train_metric_values", {}).items()}
    evaluated = {f"eval/{name}": value for name, value in getattr(state, "eval_metric_values", {}).items()}
    return {**evaluated, **trained}


def _value(time: Any) -> int | None:
    return None if time is None else int(time.value)


def _world() -> int | None:
    try:
        from composer.utils import dist
    except ImportError:  # the hooks are driven by something else
        return None
    return int(dist.get_world_size())


def _bases() -> tuple[type, ...]:
    from composer import Callback

    return (Callback,)


__getattr__ = callback_class_getter(__name__, ComposerHooks, _bases)
