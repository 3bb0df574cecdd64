"""Writes the tables of docs/metrics.md, configuration.md, ... from the code: ``python -m scripts.docs``.

Between ``<!-- table: NAME -->`` and ``<!-- end -->`` is generated from code; the prose around it is not.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import epochcost
from epochcost import cli_parser
from epochcost.agent.agent_server import AgentServer, Served
from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.collectors.family import PREFIX, Family
from epochcost.agent.collectors.gpu import GPU
from epochcost.agent.collectors.guard import GUARD
from epochcost.agent.collectors.node import NODE
from epochcost.agent.collectors.own import OWN
from epochcost.agent.collectors.owner import OWNER
from epochcost.agent.collectors.run import RUN, RUN_LABELS, SUMMARIES
from epochcost.agent.collectors.terms import TERMS
from epochcost.agent.guarding import Guarding
from epochcost.demo.demo_settings import DemoSettings
from epochcost.poller.api import PRICE_PARAMETERS
from epochcost.poller.app import PollerApp
from epochcost.poller.collector import PollerCollector
from epochcost.poller.poller_settings import PollerSettings
from epochcost.poller.snapshot import PollerSnapshot
from epochcost.progress.http_ingest import Intake
from epochcost.progress.run_owners import RunOwners
from epochcost.settings import default_text, options

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = ("metrics.md", "configuration.md", "demo.md", "reference.md")
EMPTY = PollerSnapshot(0.0)
BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in lines)


def metrics(families: Sequence[Family]) -> str:
    rows = [[f"`{PREFIX}{f.name}`", ", ".join(f"`{label}`" for label in f.labels), f.help] for f in families]
    return table(["metric", "labels", "meaning"], rows)


def run_metrics() -> str:
    labels = ", ".join(f"`{label}`" for label in RUN_LABELS)
    sums = [[f"`{PREFIX}{name}_sum`, `_count`", labels, text] for name, text, _ in SUMMARIES]
    return metrics(RUN) + "".join(f"| {' | '.join(row)} |\n" for row in sums)


def poller_metrics() -> str:
    rows = []
    for metric in PollerCollector(lambda: EMPTY).collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - it has no public name
        rows.append([f"`{name}`", labels, f"{metric.documentation}."])
    return table(["metric", "labels", "meaning"], rows)


def settings(cls: type) -> str:
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    rows = []
    for name, opt in options(cls).items():
        if opt.structured:
            rows.append([f"`{opt.flag}` (file only)", "", "", opt.help])
        else:
            text = default_text(defaults[name], opt)
            rows.append([f"`--{opt.flag}`", f"`{opt.env}`", f"`{text}`" if text else "", opt.help])
    return table(["flag", "environment variable", "default", "description"], rows)


def commands() -> str:
    parser = cli_parser.make_parser()
    (subs,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    rows = [[f"`epochcost {choice.dest}`", choice.help or ""] for choice in subs._choices_actions]  # noqa: SLF001
    return table(["command", "description"], rows)


def http() -> str:
    """Routes of agent and poller, neither of which is started; what each answers is its function's description."""
    with tempfile.TemporaryDirectory() as home:
        intake = Intake(Path(home), lambda: 0.0, lambda: 0.0)
        guarding = cast("Guarding", SimpleNamespace(keep=None))
        served = Served(lambda: None, lambda: 0.0, guarding=guarding)
        agent = AgentServer(AgentSettings(), served, intake, RunOwners())
        poller = PollerApp(PollerSettings(state_dir=home), sources=[])
    of = {"agent": agent.http.described(), "poller": poller.routes()}
    rows: dict[tuple[str, str, str], list[str]] = {}
    for program, routes in of.items():
        for route in routes:
            rows.setdefault(route, []).append(program)
    return table(
        ["path", "served by", "description"],
        [
            [
                f"`{'POST ' if method == 'POST' else ''}{path}`",
                ", ".join(programs),
                _sentence(says),
            ]
            for (method, path, says), programs in sorted(rows.items(), key=lambda row: (row[0][1], row[1]))
        ],
    )


def _sentence(says: str) -> str:
    return " ".join(says.split()).replace("``", "`")


def python_names() -> str:
    rows = []
    for name in epochcost.__all__:
        if name.startswith("_"):
            continue
        thing = getattr(epochcost, name)
        says = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
        rows.append([f"`{name}{_arguments(thing)}`", says])
    return table(["name", "description"], rows)


def run_names() -> str:
    members = inspect.getmembers(epochcost.Run, lambda x: inspect.isfunction(x) or isinstance(x, property))
    rows = []
    for name, thing in members:
        if not name.startswith("_"):
            says = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
            rows.append([f"`run.{name}{_arguments(thing)}`", says])
    return table(["name", "description"], rows)


def _arguments(thing: object) -> str:
    if not inspect.isfunction(thing):
        return ""
    names = [n for n, p in inspect.signature(thing).parameters.items() if n != "self" and p.kind != p.VAR_KEYWORD]
    return f"({', '.join(names)})"


TABLES: dict[str, Callable[[], str]] = {
    "node": lambda: metrics((*NODE, *TERMS)),
    "gpu": lambda: metrics(GPU),
    "owner": lambda: metrics(OWNER),
    "run": run_metrics,
    "guard": lambda: metrics(GUARD),
    "own": lambda: metrics(OWN),
    "poller": poller_metrics,
    "agent-settings": lambda: settings(AgentSettings),
    "poller-settings": lambda: settings(PollerSettings),
    "demo-settings": lambda: settings(DemoSettings),
    "commands": commands,
    "http": http,
    "price-parameters": lambda: ", ".join(f"`{name}`" for name in PRICE_PARAMETERS) + ".\n",
    "python": python_names,
    "python-run": run_names,
}


def written(text: str) -> str:
    """``text`` with every table as the code says it now."""
    return BLOCK.sub(lambda m: f"{m[1]}{TABLES[m['name']]()}{m[3]}", text)


def main() -> int:
    for name in FILES:
        path = DOCS / name
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
