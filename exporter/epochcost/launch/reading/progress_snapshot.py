"""What the user declared beforehand, and the progress of the run at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.launch.moment import Moment


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user configured; None if nothing.

    Attributes:
        epochs: planned.
        steps_per_epoch, samples_per_epoch: for formats that count in steps or samples alone.
        bar: meaning of a progress bar without a description: ``epoch``, ``run``, ``nothing``, or ``auto``.
    """

    epochs: float | None = None
    steps_per_epoch: int | None = None
    samples_per_epoch: int | None = None
    bar: str = "auto"


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Where the run is. All absolute; None if not known.

    Attributes:
        at: when.
        retract: everything that was reported before was wrong.
        since: when the training began, and ``began``: the epochs that were finished then.
        ended: the number of the epoch that has just ended, 1 for the first.
        epoch: position in finished epochs.
        epochs: planned.
        step, samples: since the beginning of the run.
        steps: of one epoch.
        batch_size: samples of a step.
    """

    at: Moment | None = None
    retract: bool = False
    since: Moment | None = None
    began: float | None = None
    ended: int | None = None
    epoch: float | None = None
    epochs: float | None = None
    step: int | None = None
    steps: int | None = None
    samples: int | None = None
    batch_size: int | None = None
