"""What ``import epochcost`` offers."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epochcost.training.contexts import CheckpointContext, PhaseContext
from epochcost.training.cost import CostFile
from epochcost.training.directory import events_dir
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job, job, run_id, run_name
from epochcost.training.memory import MemoryPeak
from epochcost.training.notice import NoticeFile
from epochcost.training.position import Position
from epochcost.training.run import Run
from epochcost.training.run_metadata import RunMetadata, loaded_framework
from epochcost.training.validation import amount, text, whole
from epochcost.training.warning import warn_once
from epochcost.training.writer import EventWriter, Writer

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
    id: str | None = None,  # noqa: A002 - the word users look for
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
        epochs: how many are planned; None where there is no plan.
        batch_size: samples of one optimiser step, over all ranks.
        id: stays the same over restarts of one training; else the launcher's job id, else made up.
        budget_usd: dashboards and alerts compare the cost with it.
        samples_per_epoch: of the training set.
        steps_per_epoch: where no loader says it.
        nominal_epoch_steps: that are called an epoch where the training has none (an endless stream); ``epochs`` counts
            them too. Once the program tells where an epoch begins or ends, they are not.
        nominal_epoch_tokens: likewise; counts more, if both are said.
        framework: else the one that is loaded (torch, jax, tensorflow).
        memory_peak: returns the most device memory held so far, in bytes; else torch is asked where it is loaded.
        local_rank: where no launcher says it. Only local rank 0 reports; for the others everything else works.
    """
    try:
        return _run(
            os.environ,
            experiment=text(experiment),
            planned=epochs,
            told=text(id),
            budget_usd=amount("budget_usd", budget_usd),
            measure=Position(
                whole("batch_size", batch_size, least=1),
                whole("samples_per_epoch", samples_per_epoch, least=1),
                whole("steps_per_epoch", steps_per_epoch, least=1),
                whole("nominal_epoch_steps", nominal_epoch_steps, least=1),
                whole("nominal_epoch_tokens", nominal_epoch_tokens, least=1),
            ),
            framework=text(framework),
            memory_peak=memory_peak,
            local_rank=whole("local_rank", local_rank),
        )
    except Exception as err:  # noqa: BLE001 - the training goes on without being reported
        warn_once("fault", f"this training is not reported: {type(err).__name__}: {err}; it goes on")
        return without_events(RunMetadata("unreported", Job()), epochs)


def _run(  # noqa: PLR0913 - the arguments of `run`, checked
    environ: Mapping[str, str],
    *,
    experiment: str,
    planned: float | None,
    told: str,
    budget_usd: float | None,
    measure: Position,
    framework: str,
    memory_peak: Callable[[], Any] | None,
    local_rank: int | None,
) -> Run:
    within = job(environ)
    if local_rank is not None:
        within = dataclasses.replace(within, local_rank=local_rank)
    facts = RunMetadata(
        run=run_id(environ, told, experiment),
        job=within,
        experiment=experiment,
        framework=framework or loaded_framework(),
        epochs=amount("epochs", planned),
        batch_size=measure.batch_size,
        samples_per_epoch=measure.samples_per_epoch,
        budget_usd=budget_usd,
        named=bool(run_name(environ, told)),
    )
    if _disabled(environ):
        return without_events(facts, planned)
    directory = functools.cache(lambda: events_dir(environ))  # an error is not cached: it is tried again
    make_writer, costs = _ways(environ, directory, facts.run)
    return Run(
        facts,
        narration=EventEmitter(facts, make_writer if within.writes else None, MemoryPeak(memory_peak)),
        costs=costs,
        notices=NoticeFile(directory),
        position=measure,
        loop_epochs=planned,
    )


def _ways(
    environ: Mapping[str, str], directory: Callable[[], Path], run: str
) -> tuple[Callable[[str], Writer], CostFile]:
    """How events go and dollars come: by files, or over HTTP where ``EPOCHCOST_URL`` says so."""
    url = environ.get("EPOCHCOST_URL", "").strip()
    if not url:
        return functools.partial(EventWriter, directory), CostFile(directory, run)
    from epochcost.training.remote import RemoteCost, RemoteWriter

    if not url.startswith(("http://", "https://")):
        warn_once("url", "EPOCHCOST_URL is no http:// or https:// URL; events are written to files instead")
        return functools.partial(EventWriter, directory), CostFile(directory, run)
    writers: list[RemoteWriter] = []

    def make(name: str) -> RemoteWriter:
        writers.append(RemoteWriter(url, environ.get("EPOCHCOST_TOKEN_FILE", ""), name))
        return writers[-1]

    return make, RemoteCost(run, writers)


def without_events(facts: RunMetadata, planned: Any) -> Run:  # noqa: ANN401 - as the user gave it
    """A run whose loops and figures work, and that writes nothing."""

    def nowhere() -> Path:
        raise FileNotFoundError("this run has no directory")

    silent = Run(
        facts,
        narration=EventEmitter(facts, None, MemoryPeak(None)),
        costs=CostFile(nowhere, facts.run),
        notices=NoticeFile(nowhere),
        position=Position(facts.batch_size, facts.samples_per_epoch, None),
        loop_epochs=planned,
    )
    silent.mute()
    return silent


def _disabled(environ: Mapping[str, str]) -> bool:
    return environ.get("EPOCHCOST_DISABLE", "").strip().lower() not in ("", "0", "false", "no")


def current() -> Run | None:
    """The run that was opened last in this process and is still open; None if there is none."""
    runs = [run for run in ENDINGS.open if isinstance(run, Run)]
    return runs[-1] if runs else None


@functools.wraps(run, assigned=())
def start(*args: Any, **kwargs: Any) -> Run:  # noqa: ANN401 - the arguments of `run`
    """Open a run for the plain functions below."""
    opened = run(*args, **kwargs)
    opened.start()
    return opened


def _opened(call: str) -> Run:
    found = current()
    if found is None and not ENDINGS.inherited:
        warn_once("no run", f"epochcost.{call}() without an open run: call epochcost.start() before")
    return found or without_events(RunMetadata("unreported", Job()), None)


def step(n: int = 1, samples: int | None = None, tokens: int | None = None) -> None:
    """`Run.step` of the open run."""
    _opened("step").step(n, samples, tokens)


def report(
    epoch: float | None = None, step: int | None = None, samples: int | None = None, tokens: int | None = None
) -> None:
    """`Run.report` of the open run."""
    _opened("report").report(epoch, step, samples, tokens)


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


def lightning_callback(experiment: str = "", **told: Any) -> Any:  # noqa: ANN401
    """``Trainer(callbacks=[epochcost.lightning_callback("char-lm")])``."""
    return _callback("lightning")(experiment, **told)


def huggingface_callback(experiment: str = "", **told: Any) -> Any:  # noqa: ANN401
    """``Trainer(..., callbacks=[epochcost.huggingface_callback("bert")])``."""
    return _callback("huggingface")(experiment, **told)


def keras_callback(experiment: str = "", **told: Any) -> Any:  # noqa: ANN401
    """``model.fit(..., callbacks=[epochcost.keras_callback("mnist", batch_size=32)])``."""
    return _callback("keras")(experiment, **told)


def fastai_callback(experiment: str = "", **told: Any) -> Any:  # noqa: ANN401
    """``Learner(..., cbs=epochcost.fastai_callback("pets"))``."""
    return _callback("fastai")(experiment, **told)


def composer_callback(experiment: str = "", **told: Any) -> Any:  # noqa: ANN401
    """``Trainer(..., callbacks=[epochcost.composer_callback("mpt")])``."""
    return _callback("composer")(experiment, **told)


def ultralytics_callbacks(model: Any, experiment: str = "", **told: Any) -> Any:  # noqa: ANN401
    """``epochcost.ultralytics_callbacks(model, "coco8")`` before ``model.train(...)``."""
    return importlib.import_module("epochcost.training.ultralytics").add_callbacks(model, experiment, **told)


def jax_run(experiment: str = "", *args: Any, **told: Any) -> Run:  # noqa: ANN401
    """``with epochcost.jax_run("vit", epochs=10) as run:``, a `run` that asks JAX for what it knows."""
    opened: Run = importlib.import_module("epochcost.training.jax").run(experiment, *args, **told)
    return opened


def _callback(framework: str) -> Any:  # noqa: ANN401
    return importlib.import_module(f"epochcost.training.{framework}").EpochcostCallback
