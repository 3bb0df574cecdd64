"""The project's own rules, made ready for a past that is played in seconds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).with_name("prometheus")
CHECKOUT = Path(__file__).resolve().parents[3] / "prometheus"
BUDGET = "epochcost:threshold:budget_usd_per_month"
CALENDAR = "epochcost-calendar"
Rule = dict[str, Any]


class DemoError(Exception):
    """The demo cannot be played; the text contains the reason and what helps."""


def config_dir(chosen: str = "") -> Path:
    """Where the configuration and the rules are.

    Raises:
        DemoError: when they are nowhere.
    """
    places = [Path(chosen)] if chosen else [CHECKOUT, PACKAGED]
    for place in places:
        if (place / "rules").is_dir() and (place / "prometheus.yml").is_file():
            return place
    raise DemoError(f"no prometheus.yml and rules/ in {places[0]}: set --prometheus.config-dir")


def copy_rules(source: Path, target: Path, budget_usd_per_month: float) -> None:
    """The rules as they are, but for the fleet's budget, which is the script's, and how soon the month is known.

    Its group waits up to five minutes for its first turn: a gap between the past that was played and now.
    """
    import yaml

    target.mkdir(parents=True)
    for path in sorted((source / "rules").glob("*.yml")):
        document = parsed(path)
        budgets = [rule for group in document["groups"] for rule in group["rules"] if rule.get("record") == BUDGET]
        month = [group for group in document["groups"] if group["name"] == CALENDAR]
        if not budgets and not month:
            shutil.copyfile(path, target / path.name)
            continue
        for rule in budgets:
            rule["expr"] = f"vector({budget_usd_per_month:g})"
        for group in month:
            group["interval"] = "1m"
        (target / path.name).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def parsed(path: Path) -> Any:  # noqa: ANN401 - YAML
    """A file of rules, read by libyaml where PyYAML has it: six times as fast."""
    import yaml

    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe


def every_rule(rules: Path, kind: str) -> list[Rule]:
    """Every rule of one kind (``record``, ``alert``), as in its file."""
    groups = [group for path in sorted(rules.glob("*.yml")) for group in parsed(path)["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def passes(rules: Sequence[Rule]) -> Iterator[list[Rule]]:
    """Split ``rules`` so that each pass reads only what earlier passes wrote: promtool does not order them itself.

    Rules that remember (they read a range of what is made from themselves) form a cycle. Each round of them knows
    one step more of it, so they come two times more often than the circle has members, before any other rule reads
    them.
    """
    names = [rule["record"] for rule in rules]
    reads = {
        name: {other for other in set(names) - {name} if _reads(rule["expr"], other)}
        for name, rule in zip(names, rules, strict=True)
    }
    todo = _circles(reads)
    done: set[str] = set()
    while todo:
        ready = [circle for circle in todo if all(reads[name] <= done | circle for name in circle)]
        longest = max(len(circle) for circle in ready)
        for again in range(1 if longest == 1 else longest + 2):
            members = {name for circle in ready if len(circle) > 1 or again == 0 for name in circle}
            yield from _in_order([rule for rule in rules if rule["record"] in members])
        done = done.union(*ready)
        todo = [circle for circle in todo if circle not in ready]


def _circles(reads: Mapping[str, set[str]]) -> list[set[str]]:
    """Every name with those that it reads and that read it, over however many others."""
    reached = {name: set(others) for name, others in reads.items()}
    grown = True
    while grown:
        grown = False
        for name, others in reached.items():
            more = set().union(*(reached[other] for other in others)) - others if others else set()
            if more:
                reached[name] = others | more
                grown = True
    circles: list[set[str]] = []
    for name in reads:
        circle = {name} | {other for other in reached[name] if name in reached[other]}
        if circle not in circles:
            circles.append(circle)
    return circles


def _in_order(rules: list[Rule]) -> Iterator[list[Rule]]:
    """Of rules that may remember each other: first those that read no other of them as it is now."""
    todo = rules
    while todo:
        names = {rule["record"] for rule in todo}
        ready = [r for r in todo if not any(_reads(r["expr"], n, memory=True) for n in names - {r["record"]})]
        if not ready:
            raise ValueError(f"recording rules form a cycle: {sorted(names)}")
        yield ready
        todo = [rule for rule in todo if rule not in ready]


def _reads(expr: str, name: str, *, memory: bool = False) -> bool:
    """Whether ``expr`` reads the series ``name``, and not only one whose name contains it; ``memory``: as it is now."""
    only_now = r"(?!\s*(\{[^}]*\})?\s*\[)" if memory else ""
    return re.search(rf"(?<![\w:]){re.escape(name)}(?![\w:]){only_now}", expr) is not None


def seconds(duration: str) -> float:
    """``1h30m`` in seconds."""
    return sum(
        float(n) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[u] for n, u in re.findall(r"(\d+)([smhd])", duration)
    )
