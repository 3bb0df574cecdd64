"""A training run killed and resumed from its checkpoint, with a real agent: the repeated work, exactly."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.training.programs import environment, events_by_file
from tests.waiting import wait_for

TRAINING = """
import json, pathlib, sys, time, epochcost
checkpoint = pathlib.Path(sys.argv[1])
again = checkpoint.exists()
run = epochcost.run("lm", epochs=8, batch_size=2)
if again:
    run.load_state_dict(json.loads(checkpoint.read_text()))
with run:
    time.sleep(0.1)  # start-up
    for epoch in run.epochs():
        for batch in run.batches(range(10)):
            time.sleep(0.005)
            if (epoch, batch) == (6, 3):
                time.sleep(1.1)  # the next step is due its line: 6.4
            if (epoch, batch) == (6, 4) and not again:
                print("killed here", flush=True)
                time.sleep(600)
        if epoch == 4:
            with run.checkpoint():
                checkpoint.write_text(json.dumps(run.state_dict()))
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    flags = ["--gpus.source=none", "--price.usd-per-hour=3600"]  # a dollar a second
    it = AgentProcess(tmp_path, *flags).up()
    yield it
    it.end(signal.SIGKILL)


def figures(agent: AgentProcess, name: str) -> dict[str, float]:
    """The run's samples of one metric, by state where it has one."""
    text = agent.get("/metrics")[1]
    series = re.findall(rf"^epochcost_{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
    return {labels.partition('state="')[2].partition('"')[0]: float(value) for labels, value in series}


def train(agent: AgentProcess, checkpoint: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(checkpoint)]
    return subprocess.Popen(command, env=environment(agent.events), stdout=subprocess.PIPE, text=True)


def killed_and_resumed(agent: AgentProcess, checkpoint: Path) -> list[dict[str, float]]:
    """The lines of the second attempt."""
    first = train(agent, checkpoint)
    assert first.stdout is not None
    assert first.stdout.readline() == "killed here\n"
    first.kill()
    first.communicate()
    before = set(events_by_file(agent.events))
    second = train(agent, checkpoint)
    second.communicate(timeout=60)
    assert second.returncode == 0
    (name,) = set(events_by_file(agent.events)) - before
    return events_by_file(agent.events)[name]  # type: ignore[return-value]


def test_lost_epochs_and_their_dollars_are_exact_for_a_run_killed_at_6_4_and_resumed_at_5(
    tmp_path: Path, agent: AgentProcess
) -> None:
    lines = killed_and_resumed(agent, tmp_path / "checkpoint.json")
    wait_for(lambda: figures(agent, "run_state").get("finished") == 1, what="the end of the run")
    assert figures(agent, "run_lost_epochs_total") == {"": pytest.approx(1.4)}
    assert figures(agent, "run_epochs_total") == {"": pytest.approx(8 + 1.4)}
    assert figures(agent, "run_useful_epochs") == {"": 8}
    at = {line["epoch"]: line["mono"] for line in lines if line["ev"] in ("progress", "epoch_end")}
    dollars = figures(agent, "run_state_cost_usd_total")
    # From the second attempt's first training step to the step at the first attempt's last position.
    (trains,) = [
        line["mono"] for line in lines if (line["ev"], line["phase"], line.get("epoch")) == ("phase", "train", 5)
    ]
    assert dollars["replay"] == pytest.approx(at[6.4] - trains, abs=1e-5)
    # Cost per useful epoch: the dollars of both attempts over the epochs that count.
    (cost,) = figures(agent, "run_cost_usd_total").values()
    assert sum(dollars.values()) == pytest.approx(cost, abs=1e-9)
    assert cost > at[8] - lines[0]["mono"] + 1.1  # at[8]: the end; the first attempt waited, too
