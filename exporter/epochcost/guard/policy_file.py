"""``guard.yml`` -> `PolicySet`. Each error names file, line and field."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from epochcost.guard.located_yaml import Fields, Located, PolicyError, parsed
from epochcost.guard.placeholders import check_argument
from epochcost.guard.policy import (
    OF_RUNS,
    Command,
    Condition,
    Except,
    Hours,
    Policy,
    PolicySet,
    Scope,
    Selector,
    Step,
    StepKind,
    Webhook,
    When,
)
from epochcost.guard.ready_policies import READY
from epochcost.settings import between, boolean, choice, http_url, number, positive, ratio

MAX_BYTES = 1 << 20
MAX_POLICIES = 50
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WAITS = {StepKind.TELL: 0.0, StepKind.ASK: 1800.0, StepKind.CHECKPOINT: 900.0, StepKind.STOP: 300.0}
"""How long the next step waits, if not set in the file."""
SHORTEST_WAIT, LONGEST_WAIT = "5s", "30d"
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")


def read(path: Path) -> PolicySet:
    """The policies of a file.

    Raises:
        PolicyError: naming file, line and field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as err:
        raise PolicyError(f"{path}: cannot be read: {err.strerror}") from None
    except UnicodeDecodeError:
        raise PolicyError(f"{path}: is not UTF-8") from None
    if len(data) > MAX_BYTES:
        raise PolicyError(f"{path}: longer than {MAX_BYTES} bytes")
    return policies(parsed(text, str(path)))


def policies(it: Located) -> PolicySet:
    """The policies of a document.

    Raises:
        PolicyError: naming file, line and field.
    """
    with Fields(it, it.document if it.document is not None else {}, ()).complete() as top:
        dry_run = top.take("dry_run", boolean, default=True)
        commands = _commands(it, top)
        webhook = top.inner("webhook")
        policies = tuple(_policy(it, one, path, commands, dry_run=dry_run) for one, path in top.items("policies"))
        if not policies:
            raise top.error("policies", "contains no policy")
        if len(policies) > MAX_POLICIES:
            raise top.error("policies", f"more than {MAX_POLICIES} policies")
        names = [policy.name for policy in policies]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise top.error("policies", f"two have the name {twice!r}")
        return PolicySet(
            policies,
            top.take("actions_per_hour", _whole(1, 60), 4),
            top.take("longest_keep", between("1m", "30d"), 86400.0),
            None if webhook is None else _webhook(webhook),
            top.take("link", http_url, ""),
        )


def _webhook(fields: Fields) -> Webhook:
    with fields.complete():
        url = fields.take("url", http_url, "")
        if not url:
            raise fields.error("url", "is needed")
        return Webhook(url, fields.take("timeout", between("100ms", "1m"), 10.0))


def _commands(it: Located, top: Fields) -> dict[str, Command]:
    raw = top.raw("commands")
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise top.error("commands", "must be a mapping of names to commands")
    return {name: _command(name, Fields(it, value, ("commands", name))) for name, value in raw.items()}


def _command(name: str, fields: Fields) -> Command:
    with fields.complete():
        if isinstance(fields.raw("command"), str):
            raise fields.error("command", "must be a list of program and arguments: no shell reads it")
        argv = fields.listed("command", check_argument)
        if not argv:
            raise fields.error("command", "is needed: a list of program and arguments")
        if not argv[0].startswith("/") or "{" in argv[0]:
            raise fields.error("command", f"{argv[0]!r}: the program must be an absolute path")
        scope = fields.take("scope", choice(*(s.value for s in Scope)), Scope.MACHINE.value)
        deadline = fields.take("deadline", between("1s", "30m"), 60.0)
        return Command(name, argv, Scope(scope), deadline)


def _policy(it: Located, raw: Any, path: tuple[Any, ...], commands: Mapping[str, Command], *, dry_run: bool) -> Policy:  # noqa: ANN401
    configured = Fields(it, raw, path)
    use = configured.take("use", choice(*READY), "")
    fields = Fields(it, _merged(READY[use], raw) if use else raw, path)
    with fields.complete():
        fields.raw("use")
        name = fields.take("name", _name, use)
        if not name:
            raise fields.error("name", "is needed")
        when, unless = fields.inner("when"), fields.inner("except")
        if when is None:
            raise fields.error("when", "is needed")
        command = fields.take("command", _one_of(commands), None)
        steps = tuple(_step(it, one, at, commands, command) for one, at in fields.items("ladder"))
        if not steps:
            raise fields.error("ladder", "is needed: a list of tell, ask, checkpoint and stop")
        policy = Policy(
            name,
            _when(when),
            steps,
            Except() if unless is None else _except(unless),
            fields.take("dry_run", boolean, dry_run),
        )
    _check(policy, fields)
    return policy


def _merged(ready: Mapping[str, Any], configured: Mapping[str, Any]) -> dict[str, Any]:
    """A ready policy with what the file overrides; of ``when`` and ``except`` field by field."""
    merged: dict[str, Any] = copy.deepcopy(dict(ready))
    for name, value in configured.items():
        within = merged.get(name)
        merged[name] = {**within, **value} if isinstance(within, dict) and isinstance(value, dict) else value
    return merged


def _check(policy: Policy, fields: Fields) -> None:
    """What would never act as its author thinks."""
    of_runs = [c for c in policy.when.conditions if c in OF_RUNS]
    of_machine = [c for c in policy.when.conditions if c not in OF_RUNS]
    select = policy.when.select
    if of_machine and (select.runs or select.experiments):
        raise fields.error("when", f"runs and experiments select runs; {of_machine[0].value} concerns a machine")
    for step in policy.ladder:
        command = step.command
        if step.kind is StepKind.STOP and command is None and of_machine:
            raise fields.error("ladder", f"stop of {of_machine[0].value} needs a command: `command: NAME`")
        if command is not None and command.scope is Scope.RUN and not of_runs:
            raise fields.error(
                "ladder", f"command {command.name} ends a run, but {of_machine[0].value} concerns a machine"
            )
    last = policy.ladder[-1].kind
    order = [list(StepKind).index(step.kind) for step in policy.ladder]
    if order != sorted(order):
        raise fields.error(
            "ladder", f"the steps must go from mild to hard: tell, ask, checkpoint, stop; {last.value} must be last"
        )
    for name in ("session", "session_left"):
        within = fields.inner("when")
        if Condition.PAST_SESSION not in policy.when.conditions and within is not None and within.has(name):
            raise fields.error("when", f"{name} goes with the state past-session")


def _when(fields: Fields) -> When:
    with fields.complete():
        states = fields.listed("states", choice(*(c.value for c in Condition)))
        if not states:
            raise fields.error("states", f"is needed: any of {', '.join(c.value for c in Condition)}")
        if not fields.has("for"):
            raise fields.error("for", "is needed: for how long it must hold, such as 30m")
        return When(
            tuple(Condition(state) for state in dict.fromkeys(states)),
            fields.take("for", between(SHORTEST_WAIT, LONGEST_WAIT), 0.0),
            fields.take("from_usd", number, 0.0),
            Hours(
                fields.listed("hours", _span),
                frozenset(DAYS.index(day) for day in fields.listed("days", choice(*DAYS))) or frozenset(range(7)),
                fields.take("timezone", _timezone, "UTC"),
            ),
            _selector(fields),
            fields.take("session", between("1m", "90d"), None),
            fields.take("session_left", between("1m", "1d"), 600.0),
            fields.take("credit_usd", number, 0.0),
        )


def _except(fields: Fields) -> Except:
    with fields.complete():
        return Except(
            fields.listed("keep_files", _absolute),
            fields.take("interactive", _or_off(between("1m", "30d")), None),
            fields.take("busy_cpu", _or_off(ratio), None),
            fields.take("busy_cores", _or_off(positive), None),
            fields.take("busy_io", _or_off(positive), None),
            _selector(fields),
        )


def _selector(fields: Fields) -> Selector:
    return Selector(
        fields.listed("nodes", _pattern),
        fields.listed("runs", _pattern),
        fields.listed("experiments", _pattern),
        fields.listed("owners", _pattern),
        fields.listed("teams", _pattern),
    )


def _step(  # a word alone, or a mapping
    it: Located,
    raw: Any,  # noqa: ANN401
    path: tuple[Any, ...],
    commands: Mapping[str, Command],
    usual: Command | None,
) -> Step:
    fields = Fields(it, raw if isinstance(raw, Mapping) else {"step": raw}, path)
    with fields.complete():
        kind = StepKind(fields.take("step", choice(*(k.value for k in StepKind)), "") or _missing(fields))
        command = fields.take("command", _one_of(commands), usual)
        if kind is not StepKind.STOP and fields.has("command"):
            raise fields.error("command", "goes with stop")
        wait = fields.take("wait", _or_off(between(SHORTEST_WAIT, LONGEST_WAIT)), WAITS[kind])
        return Step(
            kind,
            wait or 0.0,
            command if kind is StepKind.STOP else None,
            fields.take("tries", _whole(1, 20), 3),
            fields.take("retry", between("10s", "1d"), 300.0),
        )


def _missing(fields: Fields) -> str:
    raise fields.error("step", f"is needed: one of {', '.join(k.value for k in StepKind)}")


def _one_of(commands: Mapping[str, Command]) -> Any:  # noqa: ANN401 - a reader of one field
    def parse(text: str) -> Command:
        if text not in commands:
            known = ", ".join(sorted(commands)) or "none is defined"
            raise ValueError(f"a name in commands: {known}")
        return commands[text]

    return parse


def _or_off(parse: Any) -> Any:  # noqa: ANN401 - a reader of one field
    return lambda text: None if text in ("off", "none", "false", "0", "0s") else parse(text)


def _whole(least: int, most: int) -> Any:  # noqa: ANN401 - a reader of one field
    def parse(text: str) -> int:
        value = positive(text)
        if value != int(value) or not least <= value <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(value)

    return parse


def _name(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ValueError("expected letters, digits and _.- alone, at most 60")
    return text


def _pattern(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("expected a name, or a pattern with * and ?")
    return text


def _absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("expected an absolute path")
    return text


def _span(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", text, re.ASCII)
    if not match:
        raise ValueError("expected HH:MM-HH:MM, such as 20:00-07:00")
    start = int(match[1]) * 3600 + int(match[2]) * 60
    end = int(match[3]) * 3600 + int(match[4]) * 60
    if start == end or end > 86400:  # noqa: PLR2004 - seconds of a day
        raise ValueError("expected HH:MM-HH:MM of different times until 24:00")
    return float(start), float(end)


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected a time zone that this machine knows, such as Europe/Berlin") from None
    return text
