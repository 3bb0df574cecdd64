"""Flags of every program: each default is accepted as a value, and help shows the same."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from epochcost.cli_parser import LAUNCH, make_parser
from epochcost.launch.event import event_parser
from epochcost.launch.flags import parser as exec_parser

SHOWN = re.compile(r"\[(?:env \w+, default )?([^\[\]]+)\]$")
NO_VALUE = "else", "EPOCHCOST_"
"""Of a bracket that names where a value comes from, and is none."""


def programs() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield "exec", exec_parser()
    yield "event", event_parser()
    parser = make_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    yield from ((name, sub) for name, sub in commands.choices.items() if name not in LAUNCH)


FLAGS = [
    pytest.param(parser, action, id=f"{name} {action.option_strings[-1]}")
    for name, parser in programs()
    for action in parser._actions
    if action.option_strings and action.nargs != 0
]


def test_every_program_is_covered() -> None:
    names = {name for name, _ in programs()}
    assert names >= {"exec", "event", "agent", "prices", "check", "demo", "report", "compare", "rules", "version"}
    assert len(FLAGS) > 150


@pytest.mark.parametrize(("parser", "action"), FLAGS)
def test_a_default_is_accepted_as_the_value_and_help_shows_the_same(
    parser: argparse.ArgumentParser, action: argparse.Action
) -> None:
    if action.default:  # an empty text or list: not given
        default = action.default
        text = ",".join(s.name.removeprefix("SIG") for s in default) if isinstance(default, tuple) else str(default)
        value = parser._get_values(action, [text])
        assert value == action.default
    match = SHOWN.search((action.help or "").replace("%%", "%"))
    if match and not match[1].startswith(("env ", *NO_VALUE)) and "else" not in match[1]:
        assert parser._get_values(action, [match[1]]) == (action.default or match[1])


@pytest.mark.parametrize(
    ("flag", "bad"),
    [
        ("--epochs", "0"),
        ("--epochs", "nan"),
        ("--epochs", "inf"),
        ("--epochs", "-1"),
        ("--epochs", "ten"),
        ("--batch-size", "0.5"),
        ("--batch-size", "0"),
        ("--steps-per-epoch", "99999999999999999999"),
        ("--samples-per-epoch", ""),
        ("--budget-usd", "1e13"),
        ("--first-epoch", "2"),
        ("--bar", "Auto"),
    ],
)
def test_a_wrong_value_of_exec_is_rejected_with_its_flag(
    flag: str, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        exec_parser().parse_args([f"{flag}={bad}", "--", "true"])
    assert raised.value.code == 2
    assert f"argument {flag}: " in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["0", "-1", "1.5", "me", "", "99999999999"])
def test_an_impossible_process_id_is_rejected(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        event_parser().parse_args(["start", f"--pid={bad}"])
    assert raised.value.code == 2
    assert "argument --pid: " in capsys.readouterr().err
