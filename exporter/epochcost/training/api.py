"""The public API: everything that ``import epochcost`` offers, and all that is meant to be used of this package.

``run`` makes a `Run`, the object that a training loop reports by; the plain functions (``start``, ``step``, ...) act on
the run that was opened last; the callbacks report the fits of a framework. How a run is put together is in
`run_factory`, what it does in `run`, its id in `run_name`, what is written in `event_emitter` and `writer`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from epochcost.training import notebook
from epochcost.training.contexts import CheckpointContext, PhaseContext
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.run import Run
from epochcost.training.run_args import RunArgs
from epochcost.training.run_factory import make_run, open_run, unreported_run
from epochcost.training.warning import warn_once

__all__ = [
    "Run",
    "checkpoint",
    "composer_callback",
    "current",
    "end",
    "epoch_end",
    "fastai_callback",
    "huggingface_callback",
    "jax_run",
    "keras_callback",
    "lightning_callback",
    "log",
    "phase",
    "report",
    "resume",
    "run",
    "start",
    "step",
    "ultralytics_callbacks",
]


def run(  # noqa: PLR0913 - all but the first three are seldom needed, and by name only
    experiment: str = "",
    epochs: float | None = None,
    batch_size: int | None = None,
    *,
    id: str | None = None,  # noqa: A002 - the name that users look for
    budget_usd: float | None = None,
    samples_per_epoch: int | None = None,
    steps_per_epoch: int | None = None,
    nominal_epoch_steps: int | None = None,
    nominal_epoch_tokens: int | None = None,
    framework: str | None = None,
    memory_peak: Callable[[], int] | None = None,
    local_rank: int | None = None,
) -> Run:
    """One training run: ``with epochcost.run("char-lm", epochs=25, batch_size=20) as run:``.

    Args:
        experiment: groups runs of the same model and data, so that their cost per epoch can be compared.
        epochs: how many are planned; None without a plan.
        batch_size: samples of one optimiser step, over all ranks and accumulated batches.
        id: stays the same over restarts of one training run; else made of the launcher's job, and of which training of
            that job it is; else made up.
        budget_usd: dashboards and alerts compare the cost with it.
        samples_per_epoch: of the training set.
        steps_per_epoch: if no loader has a length.
        nominal_epoch_steps: that are called an epoch where the training has none (an endless stream); ``epochs`` counts
            them too. Once the program reports where an epoch begins or ends, they are not.
        nominal_epoch_tokens: the same in tokens; takes precedence if both are given.
        framework: else the one that is loaded (torch, jax, tensorflow).
        memory_peak: returns the most device memory held so far, in bytes; otherwise torch's, if it is loaded.
        local_rank: if no launcher sets it. Only local rank 0 reports; for the others everything else works.
    """
    return make_run(
        RunArgs(
            experiment,
            epochs,
            batch_size,
            id=id,
            budget_usd=budget_usd,
            samples_per_epoch=samples_per_epoch,
            steps_per_epoch=steps_per_epoch,
            nominal_epoch_steps=nominal_epoch_steps,
            nominal_epoch_tokens=nominal_epoch_tokens,
            framework=framework,
            memory_peak=memory_peak,
            local_rank=local_rank,
        )
    )


def current() -> Run | None:
    """The most recently opened run of this thread, else of this process, that is still open; None if there is none."""
    return open_run()


@functools.wraps(run, assigned=())
def start(*args: Any, **kwargs: Any) -> Run:  # noqa: ANN401 - the arguments of `run`
    """Open a run for the plain functions below. An earlier one of this thread that is still open is ended."""
    for earlier in tuple(ENDINGS.open):
        if isinstance(earlier, Run) and earlier.plain and earlier.opened_here:
            earlier.end("failed" if earlier.facts.epochs is not None and not earlier.is_done else "finished")
    opened = run(*args, **kwargs)
    opened.plain = True
    opened.start()
    return opened


def _opened(call: str) -> Run:
    opened = current()
    parked_run = notebook.parked() if opened is None else None
    if isinstance(parked_run, Run):
        parked_run.reopen()
        return parked_run
    if opened is None and not ENDINGS.inherited:
        warn_once("no run", f"epochcost.{call}() without an open run: call epochcost.start() first")
    return opened or unreported_run()


def step(n: int = 1, samples: int | None = None, tokens: int | None = None) -> None:
    """`Run.step` of the open run."""
    _opened("step").step(n, samples, tokens)


def report(
    epoch: float | None = None, step: int | None = None, samples: int | None = None, tokens: int | None = None
) -> None:
    """`Run.report` of the open run."""
    _opened("report").report(epoch, step, samples, tokens)


def log(values: Mapping[str, Any] | None = None, /, **named: Any) -> None:  # noqa: ANN401 - any number
    """`Run.log` of the open run."""
    _opened("log").log(values, **named)


def epoch_end(epoch: int | None = None) -> None:
    """`Run.epoch_end` of the open run."""
    _opened("epoch_end").epoch_end(epoch)


def resume(
    epoch: float | None = None, step: int | None = None, samples: int | None = None, tokens: int | None = None
) -> None:
    """`Run.resume` of the open run."""
    _opened("resume").resume(epoch, step, samples, tokens)


def phase(name: str) -> PhaseContext:
    """`Run.phase` of the open run."""
    return _opened("phase").phase(name)


def checkpoint() -> CheckpointContext:
    """`Run.checkpoint` of the open run."""
    return _opened("checkpoint").checkpoint()


def end(status: str = "finished") -> None:
    """`Run.end` of the open run."""
    _opened("end").end(status)


# One line for a framework; the arguments are those of `run`.


def lightning_callback(experiment: str = "", **arguments: Any) -> Any:  # noqa: ANN401
    """``Trainer(callbacks=[epochcost.lightning_callback("char-lm")])``."""
    return _callback("lightning")(experiment, **arguments)


def huggingface_callback(experiment: str = "", **arguments: Any) -> Any:  # noqa: ANN401
    """``Trainer(..., callbacks=[epochcost.huggingface_callback("bert")])``."""
    return _callback("huggingface")(experiment, **arguments)


def keras_callback(experiment: str = "", **arguments: Any) -> Any:  # noqa: ANN401
    """``model.fit(..., callbacks=[epochcost.keras_callback("mnist", batch_size=32)])``."""
    return _callback("keras")(experiment, **arguments)


def fastai_callback(experiment: str = "", **arguments: Any) -> Any:  # noqa: ANN401
    """``Learner(..., cbs=epochcost.fastai_callback("pets"))``."""
    return _callback("fastai")(experiment, **arguments)


def composer_callback(experiment: str = "", **arguments: Any) -> Any:  # noqa: ANN401
    """``Trainer(..., callbacks=[epochcost.composer_callback("mpt")])``."""
    return _callback("composer")(experiment, **arguments)


def ultralytics_callbacks(model: Any, experiment: str = "", **arguments: Any) -> Any:  # noqa: ANN401
    """``epochcost.ultralytics_callbacks(model, "coco8")`` before ``model.train(...)``."""
    return importlib.import_module("epochcost.training.ultralytics").add_callbacks(model, experiment, **arguments)


def jax_run(experiment: str = "", *args: Any, **arguments: Any) -> Run:  # noqa: ANN401
    """``with epochcost.jax_run("vit", epochs=10) as run:``, a `run` that gets its metadata from JAX."""
    opened: Run = importlib.import_module("epochcost.training.jax").run(experiment, *args, **arguments)
    return opened


def _callback(framework: str) -> Any:  # noqa: ANN401
    return importlib.import_module(f"epochcost.training.{framework}").EpochcostCallback
