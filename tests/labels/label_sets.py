"""Realistic scrape configurations, and a real Prometheus with each.

A `PodMonitor`, a `ServiceMonitor` under another release's name, relabeling of nodes and zones, `honor_labels`, several
clusters in one store, two replicas of one Prometheus: each puts labels of its own on every series of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from tests.stack import RULES_DIR, Program, program, quick_rules

Target = dict[str, Any]
EVALUATED_SECONDS = 3
"""How often rules are, in real time: eight Prometheus once a second were two cores."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """How agents and pollers are scraped.

    Attributes:
        job: of the agents; the pollers' is the same with another word.
        scrape_seconds: between two scrapes, as people would write it.
        honor: `honor_labels`.
        pods: targets have the labels of pods.
        more: further target labels, with ``{node}`` and ``{i}`` for those of each machine.
        copies: each target once for each of these sets of labels.
        clusters: how many times every dollar is there.
    """

    job: str = "monitoring/epochcost-agent"
    scrape_seconds: int = 30
    honor: bool = False
    pods: bool = True
    more: Mapping[str, str] | None = None
    copies: Sequence[Mapping[str, str]] = ({},)
    clusters: int = 1

    def scrapes(self, address: str, machines: Sequence[str], poller: str, speed: float) -> list[dict[str, Any]]:
        """The section of Prometheus' configuration."""
        every = f"{round(1000 * self.scrape_seconds / speed)}ms"
        groups = [self._target(address, name, i, copy) for i, name in enumerate(machines) for copy in self.copies]
        prices = [self._target(address, poller, 99, copy) for copy in self.copies]
        common = {"honor_labels": self.honor, "scrape_interval": every, "scrape_timeout": every}
        return [
            {**common, "job_name": self.job, "static_configs": groups},
            {**common, "job_name": self.job.replace("agent", "prices"), "static_configs": prices},
        ]

    def stored_labels(self, labels: Mapping[str, str], i: int, copy: Mapping[str, str]) -> dict[str, str]:
        """Labels of a series of target ``i`` as Prometheus stores them: a target's label moves the own one aside."""
        target = {**self._target("", labels["instance"].partition(":")[0], i, copy)["labels"], "job": self.job}
        own = {name: value for name, value in labels.items() if name not in ("job", "instance")}
        target = {name: value for name, value in target.items() if not name.startswith("__")}
        if self.honor:
            return {**target, **own}
        renamed = {f"exported_{name}" if name in target and value else name: value for name, value in own.items()}
        return {**{name: value for name, value in renamed.items() if value}, **target}

    def _target(self, address: str, name: str, i: int, copy: Mapping[str, str]) -> Target:
        labels = {"__metrics_path__": f"/{name}/metrics", "instance": name}
        if self.pods:
            pod = {"namespace": "monitoring", "pod": f"epochcost-{i:05x}", "container": "agent", "endpoint": "metrics"}
            labels |= {**pod, "instance": f"10.42.{i}.7:10835"}
        labels |= {label: value.format(node=name, i=i) for label, value in (self.more or {}).items()}
        return {"targets": [address], "labels": labels | dict(copy)}


SETS = {
    "plain": LabelSet("epochcost-agent", pods=False),
    "PodMonitor": LabelSet(),
    "PodMonitor, 60 s": LabelSet(scrape_seconds=60),
    "ServiceMonitor": LabelSet("rel-7-epochcost-agent", more={"service": "rel-7-epochcost-agent"}),
    "honor_labels": LabelSet(honor=True),
    "node, region, zone": LabelSet(
        more={"node": "ip-10-0-0-{i}.ec2.internal", "region": "eu-9", "zone": "eu-9z", "machine": "m{i}"}
    ),
    "two clusters": LabelSet(copies=({"cluster": "eu"}, {"cluster": "us"}), clusters=2),
    "two replicas": LabelSet(
        copies=tuple({"cluster": "eu", "prometheus_replica": replica} for replica in ("p-0", "p-1"))
    ),
}
"""By what people would call them; the first is the one that the others are compared with."""


class LabelledPrometheus(Program):
    """The real Prometheus with the project's rules, ``speed`` times as quick, and one set of labels."""

    def __init__(self, directory: Path, scrapes: Sequence[Mapping[str, Any]], speed: float) -> None:
        (directory / "rules").mkdir(parents=True)
        every = f"{EVALUATED_SECONDS}s"
        for source in sorted(RULES_DIR.glob("*.yml")):
            (directory / "rules" / source.name).write_text(quick_rules(source.read_text(), speed, every))
        config = {
            "global": {"evaluation_interval": every},
            "rule_files": [str(directory / "rules" / "*.yml")],
            "scrape_configs": list(scrapes),
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))
        command = [
            program("prometheus") or "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        super().__init__(command, directory / "prometheus.log")

    def rules(self) -> Iterator[dict[str, Any]]:
        """Every rule with its health."""
        for group in self.get("/api/v1/rules")["data"]["groups"]:
            yield from group["rules"]

    def evaluated_since(self, ts: float) -> bool:
        """Whether every group has begun an evaluation since ``ts`` (s since the Unix epoch)."""
        groups = self.get("/api/v1/rules")["data"]["groups"]
        return all(_timestamp(group["lastEvaluation"]) > ts for group in groups)

    def instant_vector(self, expr: str, at: float) -> list[tuple[dict[str, str], float]]:
        """The instant vector of ``expr``."""
        vector = self.get("/api/v1/query", query=expr, time=repr(at))["data"]
        if vector["resultType"] == "scalar":
            return [({}, float(vector["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in vector["result"]]


def _timestamp(text: str) -> float:
    """Prometheus gives nanoseconds, which Python 3.10 does not read."""
    zone = "+00:00" if text.endswith("Z") else text[-6:]
    return datetime.fromisoformat(text[:19] + zone).timestamp()
