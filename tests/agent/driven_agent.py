"""A real agent whose time is driven by the test: real files, ledger, state and HTTP; only the clocks are ours."""

from __future__ import annotations

import json
import math
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.app import AgentApp, Clocks
from epochcost.settings import load

T0 = 1_700_000_000.0
SAME = ("epochcost_machine", "part")
BOOT_ID = "5d1d9b2a-0000-4000-8000-000000000001"


@dataclass
class SimulatedMachine:
    """One machine: its clocks, its /proc, its disk."""

    root: Path
    wall: float = T0
    mono: float = 1000.0
    busy: float = 0.0
    idle: float = 0.0
    boot_ts: float = T0 - 7200
    boot_id: str = BOOT_ID

    def __post_init__(self) -> None:
        self.events = self.root / "events"
        self.events.mkdir(parents=True, exist_ok=True)
        self.proc = self.root / "proc"
        (self.proc / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        self.write_proc()

    def write_proc(self) -> None:
        stat = f"cpu  {int(self.busy * 100)} 0 0 {int(self.idle * 100)} 0 0 0 0 0 0\nbtime {int(self.boot_ts)}\n"
        (self.proc / "stat").write_text(stat)
        (self.proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 300 kB\nMemAvailable: 400 kB\n")
        (self.proc / "sys/kernel/random/boot_id").write_text(self.boot_id + "\n")

    def advance(self, seconds: float, utilization: float = 1.0) -> None:
        self.wall += seconds
        self.mono += seconds
        self.busy += seconds * utilization
        self.idle += seconds * (1 - utilization)
        self.write_proc()

    def reboot(self, after: float) -> None:
        self.wall += after
        self.mono, self.busy, self.idle = 20.0, 10.0, 10.0
        self.boot_ts, self.boot_id = self.wall - 20, BOOT_ID[:-1] + "2"
        self.write_proc()

    def write_event(self, kind: str, t: float | None = None, run: str = "r", file: str = "", **fields: Any) -> None:
        """Append an event that happened at ``T0 + t`` (default: now) to a file, as a training process does."""
        ts = self.wall if t is None else T0 + t
        line = {"v": 1, "ev": kind, "ts": ts, "mono": self.mono + ts - self.wall, "run": run, **fields}
        with (self.events / (file or f"{run}.jsonl")).open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


@cache
def _name_and_labels(series: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A series as prometheus_client reads it, once: most are in each scrape."""
    ((sample,),) = (family.samples for family in text_string_to_metric_families(f"{series} 0\n"))
    assert "epochcost_machine" in sample.labels
    return sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if k not in SAME))


class DrivenAgent:
    """An agent on a `SimulatedMachine`; the test decides when it ticks."""

    def __init__(self, machine: SimulatedMachine, **flags: str) -> None:
        self.machine = machine
        options = {"web.listen-address": "127.0.0.1:0", "events.dir": str(machine.events), "gpus.source": "none"}
        options |= {"state.dir": str(machine.root / "state"), "node.name": "n1"}
        options |= {name.replace("__", ".").replace("_", "-"): value for name, value in flags.items()}
        settings = load(AgentSettings, "agent", options, {})
        self.interval = settings.sample_interval
        environ = {"STATE_DIRECTORY": str(machine.root / "apart")}
        self.app = AgentApp(settings, environ, Clocks(lambda: machine.wall, lambda: machine.mono), machine.proc)
        self.app.memory.resume()
        self._serving = False

    def ask_price(self) -> bool:
        assert self.app.machine.prices is not None
        return self.app.machine.prices.ask()

    def run(self, seconds: float, every: float = 0.0, utilization: float = 1.0) -> None:
        """Tick until ``seconds`` have passed, at the agent's own interval or ``every`` so many seconds."""
        every = every or self.interval
        until = self.machine.wall + seconds
        while self.machine.wall < until - 1e-9:
            self.machine.advance(min(every, until - self.machine.wall), utilization)
            self.app.sampling_loop.tick()

    def save(self) -> None:
        self.app.memory.save()

    def kill(self) -> None:
        """As ``kill -9`` does it: nothing more is written, and the kernel releases the lock."""
        self.close()

    def metrics(self) -> str:
        """/metrics over HTTP."""
        if not self._serving:
            self.app.server.start()
            self._serving = True
        with urllib.request.urlopen(f"{self.app.server.url}/metrics", timeout=10) as response:
            return str(response.read().decode())

    def scrape(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Samples of `metrics` by name and labels, without those that are the same everywhere here (`SAME`)."""
        lines = [line.rsplit(" ", 1) for line in self.metrics().splitlines() if not line.startswith("#")]
        return {_name_and_labels(series): float(value) for series, value in lines}

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((f"epochcost_{name}", tuple(sorted(labels.items()))))

    def dollars(self, name: str, **labels: str) -> float:
        """All dollars of ``run_cost_usd`` and the like, as known now: settled and provisional."""
        settled = name if name.endswith("_sum") else f"{name}_total"
        provisional = (
            name.replace("node_", "node_provisional_").replace("run_", "run_provisional_").removesuffix("_sum")
        )
        names = (f"epochcost_{settled}", f"epochcost_{provisional}")
        samples = self.scrape().items()
        return math.fsum(
            usd for (sample, has), usd in samples if sample in names and labels.items() <= dict(has).items()
        )

    def sum(self, name: str) -> float:
        return sum(value for (sample, _), value in self.scrape().items() if sample == f"epochcost_{name}")

    def close(self) -> None:
        self.app.server.stop()
        self.app.memory.close()
