"""fastai v2: ``Learner(..., cbs=EpochcostCallback("pets"))``."""

from __future__ import annotations

from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.lazy import callback_class_getter
from epochcost.training.loops import known_length
from epochcost.training.trackers import hand_over, harmlessly


class FastaiHooks:
    """Reports the fits of a learner as segments of one run; the arguments are those of ``epochcost.run``.

    Each ``fit`` numbers its epochs from 0 again; here the count continues (``fine_tune`` is one run of both its parts).
    ``validate``, ``get_preds`` and ``lr_find`` are not part of a run.
    """

    order = 65
    learn: Any

    def __init__(self, experiment: str = "", **arguments: Any) -> None:
        super().__init__()
        self._epochcost = Fit("fastai", UserArgs(experiment, **arguments), call=("fastai", ("fit",)))
        self._steps = 0
        self._steps_per_epoch: int | None = None
        self._epoch_start_step = 0

    @harmless
    def before_train(self) -> None:
        """The training part of an epoch begins: the first sign that this is a training run at all."""
        learn, fit = self.learn, self._epochcost
        if hasattr(learn, "lr_finder"):
            return
        if not fit.active:
            fit.begin()
            self._steps, self._steps_per_epoch = 0, None
            fit.set_position(learn.epoch, 0)
            fit.update_info(self._framework_info())
        fit.begin_epoch(learn.epoch)
        self._epoch_start_step = self._steps

    @harmless
    def after_step(self) -> None:
        """An optimiser step was made; an accumulated batch makes none."""
        if self._epochcost.epoch_open and self.learn.training:
            self._steps += 1

    @harmless
    def after_batch(self) -> None:
        """A batch is done."""
        if self._epochcost.epoch_open and self.learn.training:
            self._epochcost.step_to(self._steps, self.learn.iter + 1)

    @harmless
    def before_validate(self) -> None:
        """Validation within a fit."""
        if self._epochcost.epoch_open:
            self._epochcost.phase("eval")

    @harmless
    def after_validate(self) -> None:
        """Back to training."""
        if self._epochcost.epoch_open:
            self._epochcost.phase("train")

    def after_epoch(self) -> None:
        """An epoch ends; if the guard requests it, the fit with it, in the way that fastai itself ends one."""
        self._epoch_ended()
        if self._epochcost.stop_requested():
            from fastai.callback.core import CancelFitException

            raise CancelFitException

    @harmless
    def _epoch_ended(self) -> None:
        """One that ``start_epoch`` skipped never began."""
        fit = self._epochcost
        if not fit.epoch_open:
            return
        if self._steps_per_epoch is None:
            self._steps_per_epoch = self._steps - self._epoch_start_step
            fit.update_info(self._framework_info())
        fit.log(_recorded, self.learn)
        fit.end_epoch(self.learn.epoch + 1)
        self._log(fit.costs())

    @harmless
    def after_fit(self) -> None:
        """The fit is over; after an exception there is no such call."""
        if self._epochcost.active:
            self._epochcost.end()

    def _framework_info(self) -> FrameworkInfo:
        learn = self.learn
        loader = learn.dls.train
        batches = known_length(loader)
        return FrameworkInfo(
            epochs=learn.n_epoch,
            batch_size=getattr(loader, "bs", None),
            samples_per_epoch=getattr(loader, "n", None) if not getattr(loader, "drop_last", False) else None,
            batches=batches,
            steps=self._steps_per_epoch,
        )

    def _log(self, costs: dict[str, float]) -> None:
        """To TensorBoard and the program's own tracker where they are in use."""
        writers = [writer for cb in self.learn.cbs if (writer := getattr(cb, "writer", None)) is not None]
        for writer in writers:
            for name, value in costs.items():
                harmlessly("TensorBoard", writer.add_scalar, name, value, self.learn.train_iter)
        hand_over(costs, self.learn.train_iter)


def _recorded(learn: Any) -> dict[str, Any]:
    """What fastai shows of the epoch that ends: its recorder comes before this callback."""
    recorder = getattr(learn, "recorder", None)
    return dict(zip(getattr(recorder, "metric_names", ()), getattr(recorder, "log", ()), strict=False))


def _bases() -> tuple[type, ...]:
    from fastai.callback.core import Callback

    return (Callback,)


__getattr__ = callback_class_getter(__name__, FastaiHooks, _bases)
