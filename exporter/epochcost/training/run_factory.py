"""How a `Run` is put together from what the user says and what the environment knows; and which runs are open."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epochcost.training.cost import CostFile
from epochcost.training.directory import claims_dir, disabled, events_dir, network_url
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job, given_name, job, job_run_id
from epochcost.training.local_world import local_world_id
from epochcost.training.memory import MemoryPeak
from epochcost.training.notice import NoticeFile
from epochcost.training.position import Position
from epochcost.training.run import Run, silent_run
from epochcost.training.run_metadata import RunMetadata, loaded_framework
from epochcost.training.run_name import RunName
from epochcost.training.validation import amount, planned_epochs, text, whole
from epochcost.training.warning import warn_once
from epochcost.training.world import placed
from epochcost.training.writer import EventWriter, Writer
from epochcost.training.zenml import running_step


def make_run(  # noqa: PLR0913 - the arguments of `epochcost.run`
    experiment: str = "",
    epochs: Any = None,  # noqa: ANN401 - as the user gave it
    batch_size: int | None = None,
    *,
    id: str | None = None,  # noqa: A002 - as in `epochcost.run`
    budget_usd: float | None = None,
    samples_per_epoch: int | None = None,
    steps_per_epoch: int | None = None,
    nominal_epoch_steps: int | None = None,
    nominal_epoch_tokens: int | None = None,
    framework: str | None = None,
    memory_peak: Callable[[], int] | None = None,
    local_rank: int | None = None,
) -> Run:
    """As `epochcost.run`. Raises nothing: what cannot be reported is a run that writes nothing."""
    try:
        return _make(
            os.environ,
            experiment=text(experiment),
            planned=epochs,
            given=text(id),
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
    except Exception as err:  # noqa: BLE001 - the training continues without being reported
        warn_once("fault", f"this run is not reported: {type(err).__name__}: {err}; training continues")
        return unreported_run(epochs)


def unreported_run(planned: Any = None) -> Run:  # noqa: ANN401 - as the user gave it
    """A run whose loops and figures work, and that writes nothing."""
    return silent_run(RunMetadata("unreported", Job()), planned)


def open_run() -> Run | None:
    """The run that was opened last in this thread and is still open, else in the process; None if there is none."""
    runs = [run for run in ENDINGS.open if isinstance(run, Run)]
    here = [run for run in runs if run.opened_here]
    found = here or runs
    return found[-1] if found else None


def users_run() -> Run | None:
    """The run that the program itself opened last in this thread, by ``with`` or ``start``; no callback's."""
    runs = [run for run in ENDINGS.open if isinstance(run, Run) and run.opened_here and run.fit is None]
    return runs[-1] if runs else None


def _make(  # noqa: PLR0913 - the arguments of `make_run`, checked
    environ: Mapping[str, str],
    *,
    experiment: str,
    planned: Any,  # noqa: ANN401 - as the user gave it
    given: str,
    budget_usd: float | None,
    measure: Position,
    framework: str,
    memory_peak: Callable[[], Any] | None,
    local_rank: int | None,
) -> Run:
    within = job(environ)
    base = job_run_id(environ)
    ranked, shared = _ranked(within, experiment)
    if given_name(environ, given) or base or shared:  # ids that ranks share
        within, base = ranked, base or shared
    if local_rank is not None:
        within = dataclasses.replace(within, local_rank=local_rank)
    step = running_step()
    if step is not None:
        within = dataclasses.replace(within, launcher="zenml", job=step.run)
        experiment = experiment or step.experiment
    directory = functools.cache(lambda: events_dir(environ))  # an error is not cached: it is tried again
    base = base if step is None else step.run_id
    names = functools.cache(lambda: claims_dir(environ)) if network_url(environ) else directory
    name = RunName(environ, within, given, experiment, names, base=base)
    facts = RunMetadata(
        run=name.first(),
        job=within,
        experiment=experiment,
        framework=framework or loaded_framework(),
        epochs=amount("epochs", planned_epochs(planned)),
        batch_size=measure.batch_size,
        samples_per_epoch=measure.samples_per_epoch,
        budget_usd=budget_usd,
        named=name.given,
    )
    if disabled(environ):
        return silent_run(facts, planned)
    make_writer, costs = _ways(environ, directory, facts.run, names if name.sees_others else None)
    return Run(
        facts,
        emitter=EventEmitter(facts, make_writer if within.writes else None, MemoryPeak(memory_peak)),
        costs=costs,
        notices=NoticeFile(directory),
        position=measure,
        loop_epochs=planned,
        next_name=name.next,
        claim=name.claim,
    )


def _ranked(within: Job, experiment: str) -> tuple[Job, str]:
    """``within`` with its rank; and, of a world of this machine that no launcher made, the id that its ranks share."""
    ranked = placed(within)
    if (ranked.world or 1) == 1 or ranked.local_rank is not None or (ranked.nodes or 1) > 1:
        return ranked, ""
    shared = local_world_id(experiment)
    return (dataclasses.replace(ranked, nodes=1) if shared else ranked), shared


def _ways(
    environ: Mapping[str, str], directory: Callable[[], Path], run: str, names: Callable[[], Path] | None
) -> tuple[Callable[[str], Writer], CostFile]:
    """How events go and dollars come: by files, or over HTTP where ``EPOCHCOST_URL`` says so.

    ``names``: where the run's id is claimed that nobody gave; None if there is no need.
    """
    url = network_url(environ)
    if not url:
        if environ.get("EPOCHCOST_URL", "").strip():
            warn_once("url", "EPOCHCOST_URL is not an http:// or https:// URL; events are written to files instead")
        return functools.partial(EventWriter, directory), CostFile(directory, run)
    from epochcost.training.claim_file import ClaimFile
    from epochcost.training.remote import RemoteCost, RemoteWriter

    writers: list[RemoteWriter] = []

    def make(name: str) -> RemoteWriter:
        claim = None if names is None else ClaimFile(names, name)
        writers.append(RemoteWriter(url, environ.get("EPOCHCOST_TOKEN_FILE", ""), name, claim))
        return writers[-1]

    return make, RemoteCost(run, writers)
