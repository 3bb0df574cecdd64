"""A training run on two machines: two real agents, a real Prometheus with the project's rules, the real library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.programs import free_port
from tests.stack import Prometheus, available
from tests.waiting import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.skipif(not available(), reason="no Prometheus on this machine")]
BUDGET_USD = 40.0
PRICE_USD_PER_HOUR = 3600.0
"""A dollar a second, on each machine."""
TRAINING = """
import sys, time, epochcost
with epochcost.run("x", id="both", epochs=1000, budget_usd=float(sys.argv[1])) as run:
    for epoch in run.epochs():
        time.sleep(0.5)
        print(run.cost_usd, run.part, run.over_budget, flush=True)
        if run.over_budget:
            break
print("END", flush=True)
"""


class Machine:
    """An agent with a ledger and events of its own, and the part of the training there."""

    def __init__(self, folder: Path, rank: int, store: str) -> None:
        self.events, self.address = folder / f"events{rank}", f"127.0.0.1:{free_port()}"
        self.events.mkdir(parents=True)
        flags = [
            f"--machine.name=m{rank}", f"--events.dir={self.events}", f"--state.dir={folder / f'state{rank}'}",
            "--gpus.source=none", "--node.metadata=off", f"--price.usd-per-hour={PRICE_USD_PER_HOUR}",
            f"--web.listen-address={self.address}", "--prices.interval=1s",
            *([f"--prometheus.url={store}", "--prometheus.interval=1s"] if store else []),
        ]  # fmt: skip
        self._log = (folder / f"agent{rank}.log").open("wb")
        command = [sys.executable, "-m", "epochcost", "agent", *flags]
        self._agent = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self.output = folder / f"training{rank}.txt"
        self._training: subprocess.Popen[bytes] | None = None
        self._rank = rank

    def train(self) -> None:
        with self.output.open("wb") as out:
            command = [sys.executable, "-c", TRAINING, str(BUDGET_USD)]
            ranks = {"RANK": str(self._rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
            environment = {**ranks, "EPOCHCOST_DIR": str(self.events), "PATH": os.environ["PATH"]}
            self._training = subprocess.Popen(command, stdout=out, stderr=out, env=environment)

    def cost_file(self) -> dict[str, Any]:
        path = self.events / "both.cost.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def live(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.address}/v1/live", timeout=5) as response:
            (run,) = json.load(response)["runs"]
            return run

    def stop(self) -> None:
        for process in filter(None, (self._training, self._agent)):
            process.terminate()
            process.wait(20)
        self._log.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """The first has a store with the entire run, the other has none."""
    with Prometheus(tmp_path / "prometheus", {}, speed=15) as prometheus:
        machines_of_run = [Machine(tmp_path, 0, prometheus.url), Machine(tmp_path, 1, "")]
        try:
            prometheus.retarget("agents", [machine.address for machine in machines_of_run])
            yield machines_of_run
        finally:
            for machine in machines_of_run:
                machine.stop()


def test_a_budget_covers_both_machines_and_a_part_decides_nothing(machines: list[Machine]) -> None:
    first, second = machines
    for machine in machines:
        machine.train()
    started_at = time.monotonic()
    wait_for(lambda: first.cost_file().get("scope") == "run", 90, "the whole run's dollars in the first cost file")
    costs = first.cost_file()
    assert costs["machines"] == 2
    total_usd, own_usd = float(str(costs["cost_usd"])), float(str(costs["machine_cost_usd"]))
    other_usd = float(str(second.cost_file()["cost_usd"]))
    assert total_usd == pytest.approx(own_usd + other_usd, abs=8.0)
    assert first.live()["part"] == ""
    assert (second.cost_file()["scope"], second.live()["part"]) == ("machine", "this machine's part of 2")
    wait_for(lambda: "END" in first.output.read_text(), 90, "the training stopping at its budget")
    last = first.output.read_text().splitlines()[-2].split()
    assert (last[1:], float(last[0])) == (["None", "True"], pytest.approx(BUDGET_USD, rel=0.2))
    assert time.monotonic() - started_at < 0.9 * BUDGET_USD, "it stopped at the budget of both, not of one"
    assert "True" not in second.output.read_text()
    assert (
        "over_budget of run both cannot be determined: its cost is this machine's part of 2"
        in second.output.read_text()
    )
