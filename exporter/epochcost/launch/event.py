"""``epochcost event``: one line of an event file, from a shell or any other language."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from epochcost.launch.shell_run import run_of_shell, shell_file
from epochcost.training.directory import events_dir
from epochcost.training.directory_lock import locked_directory
from epochcost.training.job import Job, job_run_id, launched_job, safe, users_run_name
from epochcost.training.process_tree import KEY, namespace, processes_above
from epochcost.training.run_name import LaunchContext

KINDS = ("start", "progress", "epoch_end", "phase", "checkpoint", "resume", "end")
WHOLE: tuple[str, ...] = (
    "step",
    "steps",
    "samples",
    "samples_per_epoch",
    "tokens",
    "batch_size",
    "memory_peak_bytes",
    "rank",
)
WHOLE += ("local_rank", "node_rank", "nodes", "world")
AMOUNTS = ("epoch", "epochs", "budget_usd")
TEXTS = ("experiment", "team", "slurm_account", "slurm_partition", "slurm_job_id", "framework", "unit")
CHOICES = {
    "phase": ("startup", "train", "data", "eval", "checkpoint", "restore"),
    "status": ("finished", "failed", "preempted"),
}
METRICS = "metrics."
"""Begins the name of a number of the program's own."""
LEAST_ONE = frozenset({"batch_size", "nodes", "world"})
MAX_WHOLE, MAX_AMOUNT, MAX_PID = 2**63 - 1, 1e12, 2**31 - 1
MOST_NAMES = 100
IN_THE_WAY = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.EISDIR})
"""Error codes of opening another user's file, a link, a pipe, a socket or a directory."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def event_parser() -> argparse.ArgumentParser:
    """Of ``epochcost event``."""
    parser = argparse.ArgumentParser(
        prog="epochcost event",
        description="Append one event of a run to its file. See docs/events.md for the keys.",
        allow_abbrev=False,
    )
    parser.add_argument("kind", choices=KINDS, metavar="EVENT", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--run", default="", metavar="ID", help="run id [default: EPOCHCOST_RUN, SLURM_JOB_ID, ...]")
    parser.add_argument("--pid", type=_pid, metavar="PID", help="process whose exit ends the run; --pid $$ in a shell")
    parser.add_argument(
        "values",
        nargs="*",
        metavar="KEY=VALUE",
        help="keys of the event: epoch=3 epochs=10 step=812 metrics.loss=0.31 experiment=lm ...",
    )
    return parser


def _pid(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PID)) else 0
    if not 0 < number <= MAX_PID:
        raise argparse.ArgumentTypeError(f"{text!r} is not a process id")
    return number


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Write one line; 0, or 2 where the arguments are wrong, or 1 where it could not be written."""
    parser = event_parser()
    args = parser.parse_intermixed_args(list(argv))
    user_run = users_run_name(environ, args.run)
    if not user_run and not job_run_id(environ):
        parser.error("--run or EPOCHCOST_RUN is required")
    try:
        figures = _figures(args.values)
        if args.kind == "epoch_end" and not float(str(figures.get("epoch", 0))).is_integer():
            raise ValueError(f"epoch={figures['epoch']}: an epoch_end requires a whole epoch number")
        if args.kind == "phase" and "phase" not in figures:
            raise ValueError("phase: requires the phase that begins, as in phase=train")
        if args.kind == "end":
            figures.setdefault("status", "finished")
        if user_run:
            _append(events_dir(environ), safe(user_run), _line(args.kind, user_run, args.pid, figures))
        else:
            _append_of_job(environ, args, figures)
    except ValueError as err:
        parser.error(str(err))
    except OSError as err:
        parser.exit(1, f"epochcost event: {err}\n")
    return 0


def _append_of_job(environ: Mapping[str, str], args: argparse.Namespace, figures: Mapping[str, object]) -> None:
    """The same without a named run: it is one of the launcher's job, and the one of this shell."""
    processes, directory = processes_above(), events_dir(environ)
    launch = LaunchContext(environ, launched_job(environ), job_run_id(environ), sorted(args.values))
    with locked_directory(lambda: directory):
        experiment = str(figures.get("experiment", ""))
        run = safe(run_of_shell(launch, args.kind, experiment, processes, directory))
        fields = {**figures, **_job_fields(launch.job), KEY: processes}
        _append(directory, run, _line(args.kind, run, args.pid, fields))


def _job_fields(job: Job) -> dict[str, object]:
    fields = {"job": job.job, "launcher": job.launcher, "attempt": job.attempt, "pidns": namespace()}
    return {name: value for name, value in fields.items() if value is not None}


def _figures(texts: Sequence[str]) -> dict[str, object]:
    figures, metrics = dict[str, object](), dict[str, float]()
    for key, value in map(_figure, texts):
        if key.startswith(METRICS):
            metrics[key.removeprefix(METRICS)] = _metric(key, str(value))
        else:
            figures[key] = value
    return {**figures, **({"metrics": metrics} if metrics else {})}


def _metric(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or key == METRICS:
        raise ValueError(f"{key}={value}: expected a finite number, as in {METRICS}loss=0.31")
    return number


def _figure(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value if key.startswith(METRICS) else _value(key, value)


def _value(key: str, value: str) -> object:
    if key in CHOICES:
        if value not in CHOICES[key]:
            raise ValueError(f"{key}={value}: expected one of {', '.join(CHOICES[key])}")
        return value
    if key in TEXTS:
        return value[:500]
    if key == "gpus":
        return [gpu.strip() for gpu in value.split(",") if gpu.strip()]
    if key not in (*WHOLE, *AMOUNTS):
        raise ValueError(
            f"{key}: unknown key; known: {', '.join(sorted((*WHOLE, *AMOUNTS, *TEXTS, *CHOICES, 'gpus')))}"
        )
    return _number(key, value)


def _number(key: str, value: str) -> float | int:
    whole = key in WHOLE
    least = 1 if key in LEAST_ONE else 0
    try:
        number: float | int = int(value) if whole else float(value)
    except ValueError:
        number = -1
    if not least <= number <= (MAX_WHOLE if whole else MAX_AMOUNT):
        raise ValueError(f"{key}={value}: expected a {'whole ' if whole else ''}number of {least} or more")
    return number


def _line(kind: str, run: str, pid: int | None, figures: Mapping[str, object]) -> bytes:
    watched: dict[str, object] = {}
    if pid is not None:
        watched = {"pid": pid, "pidns": Path("/proc/self/ns/pid").stat().st_ino}
    event = {"v": 1, "ev": kind, "ts": round(time.time(), 6), "mono": round(time.monotonic(), 6), "run": run}
    return json.dumps({**event, **watched, **figures}, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _append(directory: Path, run: str, line: bytes) -> None:
    """To this user's file of that run: in another user's file the line would count for that user."""
    name = shell_file(run)
    own_name = f"{name}-{os.geteuid()}"
    for stem in (name, own_name, *(f"{own_name}-{number}" for number in range(2, MOST_NAMES))):
        path = directory / f"{stem}.jsonl"
        try:
            fd = os.open(path, _FLAGS, 0o644)
        except OSError as err:
            if err.errno not in IN_THE_WAY or not os.path.lexists(path):
                raise
            continue
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
            _write(fd, path, line)
            return
        os.close(fd)
    raise OSError(f"{directory}: another user has taken every name for {name}.jsonl")


def _write(fd: int, path: Path, line: bytes) -> None:
    try:
        if (written := os.write(fd, line)) < len(line):
            raise OSError(f"{path}: only {written} of {len(line)} bytes could be written")
    finally:
        os.close(fd)
