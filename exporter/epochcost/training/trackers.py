"""Dollars for the experiment tracker that the program itself has open: Weights & Biases, MLflow, Comet.

Each gets them by its own way of logging and under names of ours; nothing that another consumer reads is written in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from epochcost.training.warning import warn_once


def hand_over(costs: dict[str, float], step: int | None = None) -> None:
    """Log ``costs`` wherever a run is open; a tracker that fails logs one warning."""
    if not costs:
        return
    for name, log in (("wandb", _wandb), ("mlflow", _mlflow), ("comet_ml", _comet)):
        module = sys.modules.get(name)
        if module is not None:
            harmlessly(name, log, module, costs, step)


def harmlessly(name: str, log: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
    """Call ``log`` of the logger ``name``; any exception logs one warning."""
    try:
        log(*args, **kwargs)
    except Exception as err:  # noqa: BLE001 - another package's exceptions
        warn_once(f"tracker {name}", f"costs are not logged to {name}: {type(err).__name__}: {err}")


def _wandb(wandb: Any, costs: dict[str, float], step: int | None) -> None:  # noqa: ANN401, ARG001
    run = getattr(wandb, "run", None)
    if run is not None:
        run.log(costs, commit=False)  # with the program's own next row, whose step is left alone


def _mlflow(mlflow: Any, costs: dict[str, float], step: int | None) -> None:  # noqa: ANN401
    if getattr(mlflow, "active_run", lambda: None)() is not None:
        mlflow.log_metrics(costs, step=step, synchronous=False)


def _comet(comet: Any, costs: dict[str, float], step: int | None) -> None:  # noqa: ANN401
    experiment = getattr(comet, "get_running_experiment", lambda: None)()
    if experiment is not None:
        experiment.log_metrics(costs, step=step)
