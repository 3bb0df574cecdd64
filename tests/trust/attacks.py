"""Attacks by an unprivileged user in a directory that they may write to: programs, run as that user."""

from __future__ import annotations

COMMON = """
import json, os, sys, time
E = "/run/epochcost"
os.umask(0)
def say(name, *events, at=None):
    with open(f"{E}/{name}", "a") as out:
        for event in events:
            out.write(json.dumps({"v": 1, "ts": time.time() if at is None else at, **event}) + "\\n")
def sure(do, *args):
    try:
        do(*args)
    except OSError as err:
        print(err, flush=True)
victim = sys.argv[1]
"""

LAYS_TRAPS = (
    COMMON
    + """
old = time.time() - 10 * 86400
for name in ("http-x.jsonl", "state", f"{victim}.cost.json", "slurm"):
    sure(os.mkdir, f"{E}/{name}")
    sure(os.utime, f"{E}/{name}", (old, old))
say("slurm/0", {"ev": "x"})
sure(os.symlink, "/run/rootonly", f"{E}/secret.jsonl")
sure(os.symlink, "/run/rootonly", f"{E}/slurm/GPU-a")
sure(os.link, "/run/rootonly", f"{E}/linked.jsonl")
sure(os.mkfifo, f"{E}/pipe.jsonl")
with open(f"{E}/http-big.jsonl", "w") as sparse:
    sparse.truncate(600 << 20)
for i in range(2000):
    open(f"{E}/http-{i}.jsonl", "w").close()
with open(f"{E}/preemption.json", "w") as out:
    out.write('{"v":1,"kind":"interruption","action":"terminate"}')
with open(f"{E}/{victim}~1001.cost.json", "w") as out:
    out.write('{"v":1,"cost_usd":666}')
print("laid", flush=True)
"""
)
"""Before anybody else is there, and before the agent starts."""

TAKES_OVER = (
    COMMON
    + """
print("begun", flush=True)
n = 0
while True:
    n += 1
    for name in os.listdir(E):
        if name.startswith(victim) and name.endswith(".jsonl"):
            say(f"hijack-{n}.jsonl", {"ev": "progress", "run": victim, "epoch": 900.0, "continues": name},
                {"ev": "end", "run": victim, "status": "failed"})
    say(f"plain-{n}.jsonl", {"ev": "end", "run": victim, "status": "failed"})
    early = {"ev": "start", "run": victim}, {"ev": "end", "run": victim, "status": "preempted"}
    say(f"back-{n}.jsonl", *early, at=time.time() - 3600)
    with open(f"{E}/nonsense-{n}.jsonl", "w") as out:
        out.write("my secretpin \\x1b[2J\\n" * 50)
    time.sleep(0.5)
"""
)
"""The victim's account ends, moves on, or fails: so he tries, over and over."""

FLOODS = (
    COMMON
    + """
boot = time.time() - 1800
for i in range(60):
    say(f"early-{i}.jsonl", {"ev": "start", "run": f"early-{i}"}, at=boot + i)
for i in range(199):
    say(f"many-{i}.jsonl", {"ev": "start", "run": f"many-{i}"})
print("begun", flush=True)
n = 0
while True:
    for i in range(500):
        say(f"member-{n}.jsonl", {"ev": "start", "run": "members"}, at=boot + n * 0.01)
        n += 1
    kinds = [{"ev": "end", "status": "failed"}, {"ev": "start"}]
    say("loud.jsonl", *[{"run": f"loud-{i}", **kinds[i % 2]} for i in range(2000)])
    with open(f"{E}/long.jsonl", "a") as out:
        out.write("x" * 4_000_000)
    time.sleep(0.5)
"""
)
"""Places, files, processes, lines and time of a poll."""

VICTIM = """
import epochcost, sys, time
epochs, seconds = int(sys.argv[2]), float(sys.argv[3])
with epochcost.run("victim", id=sys.argv[1], epochs=epochs) as run:
    for epoch in run.epochs():
        time.sleep(seconds)
        print("epoch", epoch, run.cost_usd, run.preemption_notice, flush=True)
    print("trained", flush=True)
    time.sleep(2.5)
    print("at the end", run.cost_usd, run.preemption_notice, flush=True)
"""
