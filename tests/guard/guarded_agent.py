"""A driven agent with a guard policy, and the runs that it guards."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

STALLED = """
dry_run: false
commands:
  mark: {{command: [/usr/bin/touch, "{mark}"], scope: run}}
policies:
  - name: hung
    when: {{states: [stalled], for: 5m}}
    ladder: [ask, {{step: stop, command: mark, retry: 10m}}]
"""


def guarded(machine: SimulatedMachine, text: str, **flags: str) -> DrivenAgent:
    file = machine.root / "guard.yml"
    file.write_text(text)
    options = {"sample__interval": "5s", **flags}  # an hour of ticks a second takes nine seconds
    it = DrivenAgent(machine, guard__file=str(file), price__usd_per_hour="36", **options)
    assert it.ask_price()
    return it


def begin(machine: SimulatedMachine, run: str = "r", **fields: Any) -> None:
    machine.write_event(
        "start", run=run, epochs=100, pid=os.getpid(), pidns=Path("/proc/self/ns/pid").stat().st_ino, **fields
    )
    machine.write_event("phase", run=run, phase="train", epoch=0)


def advance(it: DrivenAgent, machine: SimulatedMachine, seconds: float, run: str = "r") -> None:
    """A run that reports every ten seconds."""
    for _ in range(int(seconds // 10)):
        machine.write_event("progress", run=run, step=int(machine.wall), epoch=(machine.wall % 1e6) / 1e6)
        it.run(10)


def stop_of(machine: SimulatedMachine, run: str = "r") -> object:
    return json.loads((machine.events / f"{run}.cost.json").read_text()).get("stop")


def post(it: DrivenAgent, body: object, **headers: str) -> tuple[int, str]:
    it.scrape()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{it.app.server.url}/v1/keep", data, {"Content-Type": "application/json", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()
