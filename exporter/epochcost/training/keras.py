"""Keras 3 (TensorFlow, JAX, torch): ``model.fit(..., callbacks=[EpochcostCallback("mnist", batch_size=32)])``."""

from __future__ import annotations

from typing import Any

from epochcost.training.fit import Fit, harmless
from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.fit_call import Beside
from epochcost.training.lazy import made_once
from epochcost.training.trackers import hand_over, harmlessly


class KerasHooks:
    """Reports ``model.fit``; the arguments are those of ``epochcost.run``.

    Keras does not report the batch size: pass ``batch_size=``. The length of an epoch that Keras learns only at the end
    of the first one is known from the second on.
    """

    params: dict[str, Any]
    model: Any

    def __init__(self, experiment: str = "", **told: Any) -> None:
        super().__init__()
        self._epochcost = Fit("keras", UserArgs(experiment, **told), call=("keras", ("fit",)))
        self._beside = Beside()
        self._batches = 0
        self._length: int | None = None
        self._before = 0
        self._first = True

    @harmless
    def on_train_begin(self, logs: Any = None) -> None:
        """``fit`` begins; with which epoch is told later."""
        self._epochcost.begin()
        self._beside = Beside(self)
        self._first, self._before = True, 0
        self._length = self.params.get("steps")

    @harmless
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins."""
        fit, every = self._epochcost, self._accumulation
        if self._first:
            self._first = False
            fit.set_position(epoch, epoch * (self._length or 0) // every)
            self._before = epoch * (self._length or 0)
        steps = -(-self._length // every) if self._length else None
        fit.update_info(FrameworkInfo(epochs=self.params.get("epochs"), batches=self._length, steps=steps))
        fit.begin_epoch(epoch)
        self._batches = 0

    @harmless
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """``batch`` is the last of those that Keras ran in one go (``steps_per_execution``)."""
        # The last execution of an epoch counts to its end, also where the data ran out within it.
        self._batches = min(batch + 1, self._length or batch + 1)
        if self._epochcost.line_is_due:
            self._epochcost.log(dict, logs or {})
        self._epochcost.step_to((self._before + self._batches) // self._accumulation, self._batches)

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
        whole = not self._length or self._batches >= self._length
        self._epochcost.log(dict, logs or {})
        self._epochcost.end_epoch(epoch + 1, whole=whole)
        self._before += self._batches
        self._length = self._length or self._batches or None
        costs = self._epochcost.costs()
        for board in self._beside if costs else ():
            if type(board).__name__ == "TensorBoard":
                harmlessly("TensorBoard", _draw, board, costs, epoch)
        hand_over(costs, epoch)
        if self._epochcost.stop_asked():
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


__getattr__ = made_once(__name__, KerasHooks, _bases)
