"""Rules as data, and the committed YAML that they become: readable, with the comments of their sources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from pathlib import Path
from textwrap import wrap

import yaml
from rule_labels import Labels

from epochcost._version import __version__

ONE_LINE = 100
WIDTH = 118
RUNBOOKS = f"/blob/v{__version__}/docs/runbooks/"
"""Alerts link the runbooks of their own version: `main` may say otherwise by then."""

WHILE = re.compile(r"@(since|so_far)\(([\w, ]+)\)")
"""In an alert's text: a sentence on since when its condition holds, and what that has cost at the rate of now."""
WHEN = '| humanizeTimestamp | reReplaceAll "([.][0-9]+)? [+]0000" ""'
QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class Rule:
    """One recording rule as in its source: with short words where labels stand."""

    name: str
    expr: str
    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    rules: Sequence[Rule]
    interval: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RuleFile:
    """One file of ``prometheus/rules``."""

    comment: str
    groups: Sequence[Group]

    def text(self, labels: Labels) -> str:
        """The YAML."""
        lines = [*_comment(self.comment, 0), "", "groups:"]
        for number, group in enumerate(self.groups):
            lines += [""] * bool(number) + _group(group, labels)
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class AlertFile:
    """A file of alerts: YAML whose expressions and texts hold the short words.

    Links to runbooks lead to those of this version: another one's may speak of other rules.
    """

    source: Path

    def text(self, labels: Labels) -> str:
        """The YAML, with labels in place of the words."""
        lines, inside, about = [], False, {}
        for line in self.source.read_text(encoding="utf-8").splitlines():
            if fact := re.match(r"\s+(?:- )?(alert|severity|window): (\S+)$", line):
                about = {"alert": fact[2]} if fact[1] == "alert" else {**about, fact[1]: fact[2]}
            line = WHILE.sub(lambda m, of=dict(about): _since(m, of, labels), line)  # noqa: PLW2901
            inside = line.startswith("        expr:") or (inside and line.startswith("          "))
            lines.append(labels.expression(line) if inside else labels.text(line))
        return "\n".join(lines).replace("/blob/main/docs/runbooks/", RUNBOOKS) + "\n"


def _since(match: re.Match[str], about: Mapping[str, str], labels: Labels) -> str:
    names = [*labels.keep, *(name for name in match[2].split(", ") if name not in labels.keep)]
    fixed = {"alertname": about["alert"], **{name: text for name, text in about.items() if name != "alert"}}
    matchers = [*(f'{name}=\\"{text}\\"' for name, text in fixed.items()), *(f"{name}=%q" for name in names)]
    series = f"ALERTS_FOR_STATE{{{','.join(matchers)}}}"
    values = " ".join(f"$labels.{name}" for name in names)
    began = f'query (printf "{series}" {values})'
    spent = f'query (printf "%f * (time() - {series}) / 3600" $value {values})'
    dollars = f'{{{{ with {spent} }}}}, about ${{{{ . | first | value | printf "%.2f" }}}} so far{{{{ end }}}}'
    sentence = f"{{{{ with {began} }}}} This has been the case since {{{{ . | first | value {WHEN} }}}}"
    if match[1] == "so_far":
        sentence += f"{{{{ if gt $value 0.0 }}}}{dollars}{{{{ end }}}}"
    return f"{sentence}.{{{{ end }}}}"


def record(name: str, expr: str, comment: str = "", labels: Mapping[str, str] | None = None) -> Rule:
    """A recording rule."""
    return Rule(name, expr, comment, labels=labels or {})


def indented(source: str) -> str:
    """An expression's lines, each as deep as the parentheses that are open before it."""
    lines, depth = [], 0
    for line in filter(None, (line.strip() for line in source.splitlines())):
        bare = QUOTED.sub("", line)
        closes = len(bare) - len(bare.lstrip(")"))
        lines.append(" " * 2 * (depth - closes) + line)
        depth += bare.count("(") - bare.count(")")
    return "\n".join(lines)


def _comment(text: str, indent: int) -> list[str]:
    space = " " * indent
    return wrap(cleandoc(text), WIDTH, initial_indent=f"{space}# ", subsequent_indent=f"{space}# ") if text else []


def _group(group: Group, labels: Labels) -> list[str]:
    lines = [*_comment(group.comment, 2), f"  - name: {group.name}"]
    if group.interval:
        lines.append(f"    interval: {group.interval}")
    lines.append("    rules:")
    for number, rule in enumerate(group.rules):
        apart = number and (rule.comment or "\n" in rule.expr.strip())
        lines += [""] * bool(apart) + _rule(rule, labels)
    return lines


def _rule(rule: Rule, labels: Labels) -> list[str]:
    lines = [*_comment(rule.comment, 6), f"      - record: {rule.name}"]
    lines += _expression(labels.expression(indented(rule.expr)))
    if rule.labels:
        lines += ["        labels:", *(f"          {name}: {value}" for name, value in rule.labels.items())]
    return lines


def _expression(text: str) -> list[str]:
    """On one line where it is short and means the same there."""
    if "\n" not in text and len(text) <= ONE_LINE and yaml.safe_load(f"a: {text}") == {"a": text}:
        return [f"        expr: {text}"]
    return ["        expr: |-", *(f"          {line}" for line in text.splitlines())]
