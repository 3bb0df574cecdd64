"""A directory for each user, read by root's agent: the attacks possible in a shared directory do not work."""

from __future__ import annotations

import pytest
from tests.trust.attacks import FLOODS, TAKES_OVER, VICTIM
from tests.trust.shared_node import SharedNode, is_supported, shared_node
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not is_supported(), reason="needs root, namespaces, setpriv and a Python for all users")
USERS = "/run/epochcost-users"
ANN, MALLORY = 1001, 65534
EPOCHS, SECONDS = 12, 0.5
IN_HIS_OWN = f"""
import json, os, subprocess, sys, time
mine, victim = "{USERS}/mallory", sys.argv[1]
def tried(do, *args):
    try:
        do(*args)
    except OSError as err:
        print(type(err).__name__, flush=True)
    else:
        print("done", do.__name__, flush=True)
tried(os.listdir, "{USERS}/ann")
tried(os.mkdir, "{USERS}/another")
tried(os.rename, mine, "{USERS}/ann")
tried(os.rmdir, mine)
tried(os.symlink, "{USERS}/ann", "{USERS}/alias")
for number in range(200):
    with open(f"{{mine}}/m{{number}}.jsonl", "w") as out:
        said = {{"v": 1, "ts": time.time(), "run": victim, "continues": f"m{{number - 1}}.jsonl"}}
        for ev in ({{"ev": "start"}}, {{"ev": "end", "status": "failed"}}):
            out.write(json.dumps({{**said, **ev}}))
            out.write("\\n")
os.symlink("{USERS}/ann", f"{{mine}}/dir.jsonl")
os.symlink("/run/rootonly", f"{{mine}}/secret.jsonl")
os.symlink("/run/rootonly", f"{{mine}}/{{victim}}.cost.json")
os.mkfifo(f"{{mine}}/pipe.jsonl")
print("begun", flush=True)
"""


def create_directories(node: SharedNode) -> None:
    script = f"import os; os.umask(0); os.mkdir('{USERS}', 0o755)\n" + "".join(
        f"os.mkdir('{USERS}/{name}', 0o700); os.chown('{USERS}/{name}', {user}, {user})\n"
        for name, user in (("ann", ANN), ("mallory", MALLORY))
    )
    assert node.start_as(0, script).wait(timeout=30) == 0


def start_victim(node: SharedNode, attack: str, **env: str) -> list[str]:
    program = node.start_as(MALLORY, attack, "victim", **env)
    assert program.stdout is not None
    outputs = []
    while not outputs or outputs[-1] != "begun":
        line = program.stdout.readline()
        assert line, f"the attack did not begin: {outputs}"
        outputs.append(line.strip())
    return outputs


def samples_at_the_end(samples: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """``samples`` once the victim's run has ended and all its epochs are counted: what he was told is of before."""
    completed = samples.get(("run_epochs_total", "victim")) == EPOCHS
    return samples if completed and samples.get(("run_gpus", "victim")) == 0.0 else {}


def test_the_victim_is_metered_and_gets_its_costs_in_its_own_directory_despite_attacks_elsewhere():
    with shared_node() as node:
        create_directories(node)
        node.start_agent(f"--events.user-dirs={USERS}/*")
        victim = node.start_as(ANN, VICTIM, "victim", str(EPOCHS), str(SECONDS), EPOCHCOST_DIR=f"{USERS}/ann")
        wait_for(lambda: ("run_epochs_total", "victim") in node.samples(), what="the victim's run")
        outputs = start_victim(node, IN_HIS_OWN)
        assert outputs[:-1] == ["PermissionError"] * 5, "the directories are root's to make"
        for attack in (TAKES_OVER, FLOODS):  # from the shared directory
            start_victim(node, attack)
        output = victim.communicate(timeout=120)[0].splitlines()
        final = wait_for(lambda: samples_at_the_end(node.samples()), what="the end of the victim's run, as metered")
        assert final["run_epochs_total", "victim"] == EPOCHS
        assert final["run_lost_epochs_total", "victim"] == 0
        seconds = final["run_seconds_total", "victim"]
        assert EPOCHS * SECONDS <= seconds < EPOCHS * SECONDS + 30.0
        usd = final["run_cost_usd_total", "victim"] + final.get(("run_provisional_cost_usd", "victim"), 0.0)
        assert seconds / 3 - 1.0 <= usd <= seconds + 1.0, "a dollar a second, shared by two users"
        assert output[-1].startswith("at the end ")
        assert 0.0 < float(output[-1].split()[-2]) <= usd + 1.0, "told in his own directory, as of some time ago"
        log = node.log.read_text()
        assert "secretpin" not in log
        assert "Traceback" not in log
        look = f"import os; print(os.path.getsize('/run/rootonly'), sorted(os.listdir('{USERS}')))"
        assert node.start_as(0, look).communicate(timeout=30)[0] == "21 ['ann', 'mallory']\n"
