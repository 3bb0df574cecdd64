"""Which labels identify what, in this one place.

A rule's source says ``max by (PART, state) (epochcost_run_state_cost_usd_total)``. The build puts the labels in place
of the words, and takes agents' series only where they say whose they are. No figure needs a label that a scrape
configuration makes: not job, instance, pod, namespace, node or region.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MACHINE = "epochcost_machine"
"""The agent's name for its machine, on each of its series."""
OURS = f'{MACHINE}!=""'
AGENTS = re.compile(r"(?<![\w:])(epochcost_(?:node|gpu|run|collector|sample)_\w+)(?:\{([^}]*)\})?")
"""A raw series of an agent. Recorded ones have a level and a colon in front."""
BY_STATE = re.compile(r"epochcost_(run_state|(node|gpu)_(seconds|cost_usd)_total|node_provisional_cost_usd)")
"""Those that have a label ``state``, but for figures of useful time alone."""
LIMIT = re.compile(r"LIMIT_(MACHINE|RUN)\((\w+)\)")
"""A limit of `epochcost-thresholds.yml`, with what stands there for some machines or runs alone."""
OF_EVERY = {"MACHINE": "machine:epochcost_node_info:max", "RUN": "run:epochcost_owner:info"}
ASK = re.compile(r'ask_(\w+) "((?:[^"\\]|\\.)*)"((?: \$labels\.\w+)*)')
GROUP = re.compile(r"\b(group_left|group_right) \(([^()]*)\)")
LEVELS = {"cluster": (), "machine": (MACHINE,), "run": ("run",)}


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels to keep at every level: those that your scrape configuration adds and that split the bill."""

    keep: tuple[str, ...] = ("cluster",)

    def words(self) -> dict[str, str]:
        """What stands for what in the sources."""
        own = {"KEEP": (), "MACHINE": (MACHINE,), "RUN": ("run",), "PART": ("run", "part", MACHINE)}
        return {word: ", ".join((*self.keep, *labels)) for word, labels in own.items()}

    def expression(self, source: str) -> str:
        """PromQL of a source."""
        text = LIMIT.sub(_limit, source)
        for word, labels in self.words().items():
            text = re.sub(rf"\b{word}\b" + (r"(, )?" if not labels else ""), lambda m, to=labels: _joined(m, to), text)
        return GROUP.sub(self._group, AGENTS.sub(_only_ours, text))

    def _group(self, match: re.Match[str]) -> str:
        """A kept label is on both sides already."""
        names = [name for name in match[2].split(", ") if name and name not in self.keep]
        return f"{match[1]} ({', '.join(names)})"

    def text(self, source: str) -> str:
        """An alert's text, where ``ask_run "metric{}"`` asks about the run (cluster, machine) of the alert."""
        return ASK.sub(self._query, source)

    def _query(self, match: re.Match[str]) -> str:
        names = (*self.keep, *LEVELS[match[1]])
        matchers = ",".join(f"{name}=%q" for name in names)
        matched = re.sub(r"\{([^}]*)\}", lambda m: "{" + ",".join(filter(None, (matchers, m[1]))) + "}", match[2])
        values = " ".join(f"$labels.{name}" for name in names)
        return f'query (printf "{matched}" {" ".join([values] * match[2].count("{"))}{match[3]})'


def _limit(match: re.Match[str]) -> str:
    level, name = match[1], match[2]
    everybody = f"0 * max by ({level}) ({OF_EVERY[level]}) + on () group_left () epochcost:threshold:{name}"
    return f"({level.lower()}:epochcost_limit:{name} or on ({level}) {everybody})"


def _joined(match: re.Match[str], labels: str) -> str:
    comma = match[1] if match.re.groups else None
    return labels + (comma or "") if labels else ""


def _only_ours(match: re.Match[str]) -> str:
    """Agents' series that say whose they are, and none whose own label a target's has pushed aside.

    Then ``exported_run`` is there, and ``run`` is the target's: one series for all runs, and no right sum.
    """
    name, matchers = match[1], match[2]
    if matchers and MACHINE in matchers:
        return match[0]
    aside = ['exported_run=""'] * name.startswith("epochcost_run_") + ['exported_state=""'] * bool(BY_STATE.match(name))
    return f"{name}{{{', '.join(filter(None, (OURS, *aside, matchers)))}}}"
