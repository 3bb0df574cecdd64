"""One line of an event file, checked: pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from epochcost.model import EndStatus, EventKind, Phase, RunId, TrainingEvent, is_number
from epochcost.sha256 import sha256
from epochcost.shown_text import clean_name

MAX_LINE_BYTES = 65536
MAX_INT = 2**63 - 1
MAX_AMOUNT = 1e12
MAX_SECONDS = 1e11
"""Times beyond are milliseconds, not seconds, since the epoch."""
MAX_GPUS = 1024
MAX_TEXT = 120
MAX_METRICS = 64
"""In one line; fewer are kept of a run."""
MAX_METRIC_NAME = 60

ACCEPTED = "accepted"
MALFORMED = "malformed"
TOO_LONG = "too_long"
UNKNOWN_VERSION = "unknown_version"
UNREADABLE = "unreadable"
REFUSED = "refused"
"""A line beyond what one user may have open at once."""
RESULTS = (ACCEPTED, MALFORMED, TOO_LONG, UNKNOWN_VERSION, UNREADABLE, REFUSED)

_SAFE_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+=-]{0,119}")
_FILE_NAME = re.compile(r"[^/\x00]{1,255}")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is not an event.

    Attributes:
        result: what it counts as: ``malformed``, ``too_long`` or ``unknown_version``.
        reason: for people: which key, what it was, what is allowed.
    """

    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """A valid line, whose time is not yet on the node timeline.

    Attributes:
        kind, run: as in `TrainingEvent`.
        ts: when it happened by the writer's wall clock, seconds since the Unix epoch.
        mono: the same by its monotonic clock, in seconds; None if not reported.
        lock: whether the writer holds its file's lock; None if not reported.
        pid: the process, and
        pidns: the namespace in which it has that number.
        continues: the name of the file that this one continues; empty for none.
        figures: the other attributes of `TrainingEvent` in the line.
    """

    kind: EventKind
    run: RunId
    ts: float
    mono: float | None
    lock: bool | None
    pid: int | None
    pidns: int | None
    continues: str
    figures: Mapping[str, Any]

    def event(self, t: float, writer: str, run: RunId, user: int | None) -> TrainingEvent:
        """The event, at ``t`` on the node timeline, of the run ``run`` that ``user`` began."""
        return TrainingEvent(kind=self.kind, t=t, run=run, writer=writer, pid=self.pid, user=user, **self.figures)


def parse_line(raw: bytes) -> Line | Rejected:
    """Check one line (without its newline). Raises nothing, whatever the bytes.

    Unknown keys are ignored, null is "not reported"; of a key given twice the last counts.
    """
    if len(raw) > MAX_LINE_BYTES:
        return Rejected(TOO_LONG, f"longer than {MAX_LINE_BYTES} bytes")
    try:
        document = _DECODER.decode(raw.decode("utf-8"))
        version = document.get("v") if isinstance(document, dict) else 1
        if type(version) is int and version != 1:
            return Rejected(UNKNOWN_VERSION, f"v: {_shown(version)}; this agent reads version 1")
        return _line(document)
    except RecursionError:
        return Rejected(MALFORMED, "nested too deeply")
    except ValueError as err:  # not UTF-8, not JSON, or not an event
        return Rejected(MALFORMED, str(err)[:300])


def safe_run(name: str) -> RunId:
    """``name`` where it fits a label and a file name, else its likeness with a digest: different ids stay different.

    The training side applies the same rule (``epochcost.training.job.safe``); what comes out goes in again unchanged.
    """
    if _SAFE_RUN.fullmatch(name):
        return RunId(name)
    likeness = re.sub(r"^[^A-Za-z0-9_]|[^A-Za-z0-9._:@+=-]", "_", name[:100]) or "run"
    return RunId(f"{likeness}-{_digest(name)}")


def safe_text(name: str) -> str:
    """``name`` as a label value: printable, at most `MAX_TEXT` characters; with a digest where that changed it."""
    if len(name) <= MAX_TEXT and name.isprintable():
        return name
    likeness = "".join(char if char.isprintable() else "_" for char in name[:100])
    return f"{likeness}-{_digest(name)}"


def _line(document: Any) -> Line:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(document, dict):
        raise ValueError(f"{_shown(document)}; expected a JSON object")  # noqa: TRY004 - one error for the caller
    if type(document.get("v")) is not int:
        raise ValueError(f"v: {_shown(document.get('v'))}; expected 1")
    kind = _KIND("ev", document.get("ev"))
    figures: dict[str, Any] = {}
    for name, value in document.items():
        if value is not None and (check := _FIGURES.get(name)) is not None:
            figures[name] = check(name, value)
    if EXEC in (document.get("writer"), document.get("launcher")):  # the latter as versions before wrote
        figures["from_output"] = True
    if kind is EventKind.EPOCH_END and not float(figures.get("epoch", 0.5)).is_integer():
        raise ValueError(f"epoch: {_shown(document.get('epoch'))}; an epoch_end requires a whole epoch number")
    return Line(
        kind=kind,
        run=safe_run(_text("run", document.get("run"))),
        ts=_seconds("ts", document.get("ts")),
        mono=_optional(_seconds, document, "mono"),
        lock=_optional(_boolean, document, "lock"),
        pid=_optional(_FROM_1, document, "pid"),
        pidns=_optional(_FROM_0, document, "pidns"),
        continues=_optional(_file_name, document, "continues") or "",
        figures=figures,
    )


def _optional(check: Callable[[str, Any], Any], document: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    value = document.get(name)
    return None if value is None else check(name, value)


def _whole(least: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:  # noqa: ANN401 - whatever JSON holds
        if type(value) is not int or not least <= value <= MAX_INT:
            raise ValueError(f"{name}: {_shown(value)}; expected a whole number from {least} to 2^63 - 1")
        return value

    return check


def _amount(name: str, value: Any) -> float:  # noqa: ANN401
    if type(value) not in (int, float) or not 0 <= value <= MAX_AMOUNT:
        raise ValueError(f"{name}: {_shown(value)}; expected a number from 0 to {MAX_AMOUNT:g}")
    return float(value)


def _seconds(name: str, value: Any) -> float:  # noqa: ANN401
    if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{name}: {_shown(value)}; expected seconds, from 0 to {MAX_SECONDS:g}")
    return float(value)


def _boolean(name: str, value: Any) -> bool:  # noqa: ANN401
    if not isinstance(value, bool):
        raise ValueError(f"{name}: {_shown(value)}; expected true or false")  # noqa: TRY004 - one error for the caller
    return value


def _text(name: str, value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: {_shown(value)}; expected a non-empty string")
    return value


def _label(name: str, value: Any) -> str:  # noqa: ANN401
    return "" if value == "" else safe_text(_text(name, value))


def _file_name(name: str, value: Any) -> str:  # noqa: ANN401
    if not _FILE_NAME.fullmatch(_text(name, value)):
        raise ValueError(f"{name}: {_shown(value)}; expected the name of a file")
    return safe_text(value)


def _gpus(name: str, value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if not isinstance(value, list) or len(value) > MAX_GPUS or not all(type(gpu) in (str, int) for gpu in value):
        raise ValueError(f"{name}: {_shown(value)}; expected a list of at most {MAX_GPUS} indices or UUIDs")
    return tuple(safe_text(str(gpu)) for gpu in value)


def _metrics(name: str, value: Any) -> tuple[tuple[str, float | None], ...]:  # noqa: ANN401
    if not isinstance(value, dict) or len(value) > MAX_METRICS:
        raise ValueError(f"{name}: {_shown(value)}; expected an object of at most {MAX_METRICS} numbers by name")
    return tuple(
        (clean_name(_text(name, key), MAX_METRIC_NAME), _metric(name, number)) for key, number in value.items()
    )


def _metric(name: str, value: Any) -> float | None:  # noqa: ANN401
    if value is not None and not is_number(value):
        raise ValueError(f"{name}: {_shown(value)}; expected finite numbers, or null for one that no longer exists")
    return None if value is None else float(value)


def _choice(*allowed: Any) -> Callable[[str, Any], Any]:  # noqa: ANN401 - members of one of the model's enums
    by_value = {member.value: member for member in allowed}

    def check(name: str, value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, str) or value not in by_value:
            raise ValueError(f"{name}: {_shown(value)}; expected one of {', '.join(by_value)}")
        return by_value[value]

    return check


EXEC = "exec"
_KIND = _choice(*(k for k in EventKind if k is not EventKind.GONE))
_FROM_0, _FROM_1 = _whole(0), _whole(1)
_FIGURES: Mapping[str, Callable[[str, Any], Any]] = {
    "experiment": _label,
    "team": _label,
    "slurm_account": _label,
    "slurm_partition": _label,
    "slurm_job_id": _label,
    "framework": _label,
    "unit": _label,
    "rank": _FROM_0,
    "local_rank": _FROM_0,
    "node_rank": _FROM_0,
    "nodes": _FROM_1,
    "world": _FROM_1,
    "gpus": _gpus,
    "epoch": _amount,
    "epochs": _amount,
    "step": _FROM_0,
    "steps": _FROM_0,
    "samples": _FROM_0,
    "samples_per_epoch": _FROM_0,
    "tokens": _FROM_0,
    "batch_size": _FROM_1,
    "phase": _choice(*Phase),
    "memory_peak_bytes": _FROM_0,
    "budget_usd": _amount,
    "status": _choice(*(s for s in EndStatus if s is not EndStatus.LOST)),
    "job": _label,
    "launcher": _label,
    "attempt": _FROM_0,
    "stopped": _label,
    "metrics": _metrics,
}


def _digest(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > MAX_INT:  # writing out a huge number may itself be refused
        return "a number beyond 2^63"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number out of range"
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'JSON object'}"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
