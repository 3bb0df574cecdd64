"""How a `Run` is made from the user's arguments and the environment; and which runs are open."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epochcost.training.cost import CostFile
from epochcost.training.directory import claims_dir, disabled, events_dir, network_url
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job, job_run_id, launched_job, users_run_name
from epochcost.training.local_world import local_world_id
from epochcost.training.memory import MemoryPeak
from epochcost.training.notice import NoticeFile
from epochcost.training.position import Position
from epochcost.training.run import Run, silent_run
from epochcost.training.run_args import RunArgs
from epochcost.training.run_life import AgentFiles
from epochcost.training.run_metadata import RunMetadata, loaded_framework
from epochcost.training.run_name import LaunchContext, RunName
from epochcost.training.validation import amount, planned_epochs, text, whole
from epochcost.training.warning import warn_once
from epochcost.training.world import with_framework_rank
from epochcost.training.writer import EventWriter, Writer
from epochcost.training.zenml import running_step


def make_run(args: RunArgs) -> Run:
    """As `epochcost.run`. Raises nothing: what cannot be reported is a run that writes nothing."""
    try:
        return _make(os.environ, args)
    except Exception as err:  # noqa: BLE001 - the training continues without being reported
        warn_once("fault", f"this run is not reported: {type(err).__name__}: {err}; training continues")
        return unreported_run(args.epochs)


def unreported_run(planned: Any = None) -> Run:  # noqa: ANN401 - as the user gave it
    """A run whose loops and figures work, and that writes nothing."""
    return silent_run(RunMetadata("unreported", Job()), planned)


def open_run() -> Run | None:
    """The run that was opened last in this thread and is still open, else in the process; None if there is none."""
    runs = [run for run in ENDINGS.open if isinstance(run, Run)]
    here = [run for run in runs if run.opened_here]
    candidates = here or runs
    return candidates[-1] if candidates else None


def users_run() -> Run | None:
    """The run that the program itself opened last in this thread, by ``with`` or ``start``; no callback's."""
    runs = [run for run in ENDINGS.open if isinstance(run, Run) and run.opened_here and run.fit is None]
    return runs[-1] if runs else None


def _make(environ: Mapping[str, str], args: RunArgs) -> Run:
    experiment, user_run = text(args.experiment), text(args.id)
    budget_usd, position = amount("budget_usd", args.budget_usd), _position(args)
    framework = text(args.framework) or loaded_framework()
    launch, step_experiment = _launch_context(environ, user_run, experiment, whole("local_rank", args.local_rank))
    experiment = experiment or step_experiment
    directory = functools.cache(lambda: events_dir(environ))  # an error is not cached: it is tried again
    claims = functools.cache(lambda: claims_dir(environ)) if network_url(environ) else directory
    name = RunName(launch, user_run, experiment, claims)
    facts = RunMetadata(
        run=name.first(),
        job=launch.job,
        experiment=experiment,
        framework=framework,
        epochs=amount("epochs", planned_epochs(args.epochs)),
        batch_size=position.batch_size,
        samples_per_epoch=position.samples_per_epoch,
        budget_usd=budget_usd,
        named=name.named,
    )
    if disabled(environ):
        return silent_run(facts, args.epochs)
    make_writer, costs = _writer_and_costs(environ, directory, facts.run, claims if name.sees_others else None)
    return Run(
        EventEmitter(facts, make_writer if launch.job.writes else None, MemoryPeak(args.memory_peak)),
        AgentFiles(costs, NoticeFile(directory)),
        position,
        loop_epochs=args.epochs,
        name=name,
    )


def _position(args: RunArgs) -> Position:
    """Where the run is before its first step."""
    return Position(
        whole("batch_size", args.batch_size, least=1),
        whole("samples_per_epoch", args.samples_per_epoch, least=1),
        whole("steps_per_epoch", args.steps_per_epoch, least=1),
        whole("nominal_epoch_steps", args.nominal_epoch_steps, least=1),
        whole("nominal_epoch_tokens", args.nominal_epoch_tokens, least=1),
    )


def _launch_context(
    environ: Mapping[str, str], user_run: str, experiment: str, local_rank: int | None
) -> tuple[LaunchContext, str]:
    """How this process was launched, and the experiment that its launcher has a name for, if any."""
    job, base = launched_job(environ), job_run_id(environ)
    ranked, shared = _ranked(job, experiment)
    if users_run_name(environ, user_run) or base or shared:  # ids that ranks share
        job, base = ranked, base or shared
    if local_rank is not None:
        job = dataclasses.replace(job, local_rank=local_rank)
    step = running_step()
    if step is None:
        return LaunchContext(environ, job, base, sys.argv), ""
    job = dataclasses.replace(job, launcher="zenml", job=step.run)
    return LaunchContext(environ, job, step.run_id, sys.argv), step.experiment


def _ranked(job: Job, experiment: str) -> tuple[Job, str]:
    """``job`` with its rank; and, of a world of this machine that no launcher made, the id that its ranks share."""
    ranked = with_framework_rank(job)
    if (ranked.world or 1) == 1 or ranked.local_rank is not None or (ranked.nodes or 1) > 1:
        return ranked, ""
    shared = local_world_id(experiment)
    return (dataclasses.replace(ranked, nodes=1) if shared else ranked), shared


def _writer_and_costs(
    environ: Mapping[str, str], directory: Callable[[], Path], run: str, claims: Callable[[], Path] | None
) -> tuple[Callable[[str], Writer], CostFile]:
    """How events are sent and dollars received: by files, or over HTTP if ``EPOCHCOST_URL`` is set.

    ``claims``: where a generated run id is claimed; None if there is no need.
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
        claim = None if claims is None else ClaimFile(claims, name)
        writers.append(RemoteWriter(url, environ.get("EPOCHCOST_TOKEN_FILE", ""), name, claim))
        return writers[-1]

    return make, RemoteCost(run, writers)
