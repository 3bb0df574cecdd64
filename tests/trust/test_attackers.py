"""An unprivileged attacker on a node with root's agent and a victim's real training: the victim must not be affected.

``EPOCHCOST_ATTACK_SECONDS`` sets how long the victim trains, 8 by default.
"""

from __future__ import annotations

import os
import time

import pytest
from tests.trust.attacks import FLOODS, LAYS_TRAPS, TAKES_OVER, VICTIM
from tests.trust.shared_node import SharedNode, is_supported, shared_node
from tests.waiting import wait_for

SECONDS = float(os.environ.get("EPOCHCOST_ATTACK_SECONDS", "8"))
EPOCH_SECONDS = 0.5
EPOCHS = round(SECONDS / EPOCH_SECONDS)
VICTIM_USER, NEWCOMER, MALLORY = 1001, 1002, 65534
pytestmark = pytest.mark.skipif(not is_supported(), reason="needs root, namespaces, setpriv and a Python for all users")


class Outcome:
    """The result of the victim's training, and of the scrapes meanwhile."""

    def __init__(self) -> None:
        self.scrapes = 0
        self.missed = 0
        self.oldest_sample_seconds = 0.0
        self.figures: dict[str, float] = {}
        self.output = ""
        self.newcomer: dict[str, float] = {}


def begin(node: SharedNode, attack: str) -> None:
    program = node.start_as(MALLORY, attack, "victim")
    assert program.stdout is not None
    while (line := program.stdout.readline()) not in ("begun\n", "laid\n"):
        assert line, "the attack did not begin"


def run_victim(*attacks: str, restart: bool = False) -> tuple[Outcome, str]:
    """A training run beside ``attacks``, scraped once a second."""
    it = Outcome()
    with shared_node() as node:
        if attacks:
            begin(node, LAYS_TRAPS)
        agent = node.start_agent()
        victim = node.start_as(VICTIM_USER, VICTIM, "victim", str(EPOCHS), str(EPOCH_SECONDS))
        wait_for(lambda: ("run_epochs_total", "victim") in node.samples(), what="the victim's run")
        for attack in attacks:
            begin(node, attack)
        newcomer = node.start_as(NEWCOMER, VICTIM, "newcomer", "4", "0.5")
        until = time.monotonic() + SECONDS * 0.7
        while time.monotonic() < until:
            samples = node.samples()
            it.scrapes += 1
            it.missed += not samples
            if samples:
                age = time.time() - samples["sample_timestamp_seconds", ""]
                it.oldest_sample_seconds = max(it.oldest_sample_seconds, age)
            time.sleep(1.0)
        if restart:
            agent.terminate()
            agent.wait(timeout=30)
            node.start_agent()
        newcomer.communicate(timeout=120)
        it.output = victim.communicate(timeout=SECONDS + 120)[0]
        final = wait_for(lambda: samples_at_the_end(node.samples()), what="the end of both runs, as metered")
        it.figures = {name: value for (name, run), value in final.items() if run == "victim"}
        it.newcomer = {name: value for (name, run), value in final.items() if run == "newcomer"}
        return it, node.log.read_text()


def samples_at_the_end(samples: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """``samples`` once both runs have ended and all their epochs are counted."""
    completed = (
        samples.get(("run_epochs_total", "victim")) == EPOCHS and samples.get(("run_epochs_total", "newcomer")) == 4
    )
    over = all(samples.get(("run_gpus", run), 0.0) == 0.0 for run in ("victim", "newcomer"))
    return samples if completed and over else {}


def assert_unaffected(it: Outcome) -> None:
    """The victim received only the agent's own data."""
    lines = it.output.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch"] * EPOCHS + ["trained", "at"], it.output
    costs = [line.split()[-2] for line in lines if not line.startswith("trained")]
    assert all(line.endswith("None") for line in lines if not line.startswith("trained")), "no notice"
    assert "666" not in {cost.partition(".")[0] for cost in costs if cost != "None" and float(cost) > SECONDS * 2}
    assert costs[-1] != "None"
    assert float(costs[-1]) < 3 * SECONDS + 30


def scraped(it: Outcome) -> None:
    assert it.missed == 0
    assert it.scrapes >= SECONDS * 0.3
    assert it.oldest_sample_seconds < 10.0, "a beat a second, on a machine that may have twenty other things to do"


@pytest.fixture(scope="module")
def calm() -> Outcome:
    """The same training without attackers."""
    it, log = run_victim()
    assert "Traceback" not in log
    assert_unaffected(it)
    scraped(it)
    return it


@pytest.mark.parametrize("restart", [False, True], ids=["", "the agent restarts"])
@pytest.mark.parametrize("attack", [TAKES_OVER, FLOODS], ids=["takes over", "floods"])
def test_the_victims_epochs_time_and_dollars_are_unaffected_by_any_attack(calm: Outcome, attack: str, restart: bool):
    it, log = run_victim(attack, restart=restart)
    assert_unaffected(it)
    scraped(it)
    assert it.figures["run_epochs_total"] == calm.figures["run_epochs_total"] == EPOCHS
    assert it.figures["run_useful_epochs"] == EPOCHS
    assert it.figures["run_lost_epochs_total"] == 0
    assert it.figures["run_seconds_total"] == pytest.approx(calm.figures["run_seconds_total"], abs=3.0)
    # A dollar a second, shared by the users with a run on the node: three users at most, however many
    # runs one of them opens.
    usd = it.figures["run_cost_usd_total"] + it.figures.get("run_provisional_cost_usd", 0.0)
    assert it.figures["run_seconds_total"] / 3 - 1.0 <= usd <= it.figures["run_seconds_total"] + 1.0
    assert it.newcomer["run_epochs_total"] == 4, "who comes in the midst of it is metered"
    assert "Traceback" not in log
    assert "secretpin" not in log
    assert "\x1b" not in log
    assert len(log.splitlines()) < 150


def test_no_file_of_root_is_redirected(calm: Outcome):
    assert calm.figures["run_epochs_total"] == EPOCHS
    with shared_node() as node:
        begin(node, LAYS_TRAPS)
        node.start_agent()
        look = "import os; print(sorted(os.listdir('/run/epochcost/http-x.jsonl')), os.path.getsize('/run/rootonly'))"
        output = node.start_as(0, look).communicate(timeout=30)[0]
        assert output == "[] 21\n"
