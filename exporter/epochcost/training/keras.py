"""Keras 3 (TensorFlow, JAX, torch): ``model.fit(..., callbacks=[EpochcostCallback("mnist", batch_size=32)])``."""

from __future__ import annotations

from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.fit_call import SiblingCallbacks
from epochcost.training.lazy import callback_class_getter
from epochcost.training.trackers import hand_over, harmlessly


class KerasHooks:
    """Reports ``model.fit``; the arguments are those of ``epochcost.run``.

    Keras does not report the batch size: pass ``batch_size=``. The length of an epoch that Keras learns only at the end
    of the first one is known from the second on.
    """

    params: dict[str, Any]
    model: Any

    def __init__(self, experiment: str = "", **arguments: Any) -> None:
        super().__init__()
        self._epochcost = Fit("keras", UserArgs(experiment, **arguments), call=("keras", ("fit",)))
        self._siblings = SiblingCallbacks()
        self._epoch_batches = 0
        self._batches_per_epoch: int | None = None
        self._batches_before_epoch = 0
        self._is_first_epoch = True

    @harmless
    def on_train_begin(self, logs: Any = None) -> None:
        """``fit`` begins; its first epoch is known later."""
        self._epochcost.begin()
        self._siblings = SiblingCallbacks(self)
        self._is_first_epoch, self._batches_before_epoch = True, 0
        self._batches_per_epoch = self.params.get("steps")

    @harmless
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins."""
        fit, every = self._epochcost, self._accumulation
        if self._is_first_epoch:
            self._is_first_epoch = False
            fit.set_position(epoch, epoch * (self._batches_per_epoch or 0) // every)
            self._batches_before_epoch = epoch * (self._batches_per_epoch or 0)
        steps = -(-self._batches_per_epoch // every) if self._batches_per_epoch else None
        fit.update_info(FrameworkInfo(epochs=self.params.get("epochs"), batches=self._batches_per_epoch, steps=steps))
        fit.begin_epoch(epoch)
        self._epoch_batches = 0

    @harmless
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """``batch`` is the last of those that Keras ran in one go (``steps_per_execution``)."""
        # The last execution of an epoch counts to its end, also where the data ran out within it.
        self._epoch_batches = min(batch + 1, self._batches_per_epoch or batch + 1)
        if self._epochcost.line_is_due:
            self._epochcost.log(dict, logs or {})
        self._epochcost.step_to(
            (self._batches_before_epoch + self._epoch_batches) // self._accumulation, self._epoch_batches
        )

    @harmless
    def on_test_begin(self, logs: Any = None) -> None:
        """Validation within ``fit``; ``model.evaluate`` by itself is not part of a run."""
        if self._epochcost.active:
            self._epochcost.phase("eval")

    @harmless
    def on_test_end(self, logs: Any = None) -> None:
        """Back to training."""
        if self._epochcost.active:
            self._epochcost.phase("train")

    @harmless
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch ends, its validation included.

        Dollars go to TensorBoard and the program's own tracker, not into ``logs``: those are also ``History``'s and the
        columns of a CSV file, which must be as long as the others.
        """
        whole = not self._batches_per_epoch or self._epoch_batches >= self._batches_per_epoch
        self._epochcost.log(dict, logs or {})
        self._epochcost.end_epoch(epoch + 1, whole=whole)
        self._batches_before_epoch += self._epoch_batches
        self._batches_per_epoch = self._batches_per_epoch or self._epoch_batches or None
        costs = self._epochcost.costs()
        for board in self._siblings if costs else ():
            if type(board).__name__ == "TensorBoard":
                harmlessly("TensorBoard", _draw, board, costs, epoch)
        hand_over(costs, epoch)
        if self._epochcost.stop_requested():
            self.model.stop_training = True

    @harmless
    def on_train_end(self, logs: Any = None) -> None:
        """``fit`` is over; after an exception there is no such call."""
        self._epochcost.end()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint of your own."""
        return self._epochcost.state_dict()

    @harmless
    def load_state_dict(self, state: Any) -> None:
        """From a checkpoint of your own, before ``fit``."""
        self._epochcost.load_state_dict(state)

    @property
    def _accumulation(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return getattr(optimizer, "gradient_accumulation_steps", None) or 1


def _draw(board: Any, costs: dict[str, float], epoch: int) -> None:
    """Beside the scalars of the epoch, as Keras's own TensorBoard callback draws them."""
    with board._train_writer.as_default():  # noqa: SLF001 - it has no other way in
        for name, value in costs.items():
            board.summary.scalar(name, value, step=epoch)


def _bases() -> tuple[type, ...]:
    from keras.callbacks import Callback

    return (Callback,)


__getattr__ = callback_class_getter(__name__, KerasHooks, _bases)
