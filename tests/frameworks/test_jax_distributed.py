"""Two JAX processes that really train together on one machine, with an agent."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.frameworks.real import facts
from tests.training.programs import environment, events_by_file
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

PROGRAM = """
import sys, time, jax, epochcost
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2]))
with epochcost.jax_run("dense", epochs=3, batch_size=4) as run:
    for epoch in run.epochs():
        for batch in run.batches(range(5)):
            jax.block_until_ready(jax.jit(lambda x: x * 2)(jax.numpy.ones(4)))
            time.sleep(0.05)
print(run.id)
"""


@pytest.mark.parametrize("job", [{}, {"SLURM_JOB_ID": "77"}, {"EPOCHCOST_RUN": "mine"}])
def test_two_processes_are_one_run_that_rank_0_leads(tmp_path: Path, agent: AgentProcess, job: dict[str, str]):
    program = tmp_path / "train.py"
    program.write_text(textwrap.dedent(PROGRAM))
    port = free_port("127.0.0.1", 0)
    environ = environment(agent.events, JAX_PLATFORMS="cpu", **job)
    commands = [[sys.executable, program, str(port), rank] for rank in "10"]
    ranks = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for command in commands]
    ids = {process.communicate(timeout=120)[0].strip() for process in ranks}
    (run,) = ids
    assert run == "".join(job.values()) or (not job and run.startswith("dense-"))
    events_of_ranks = list(events_by_file(agent.events).values())
    starts = [lines[0] for lines in events_of_ranks]
    assert sorted(facts(line, "run", "rank", "world", "nodes") for line in starts) == [(run, 0, 2, 1), (run, 1, 2, 1)]

    def values(metric: str) -> list[str]:
        pattern = re.compile(rf'^epochcost_{metric}{{[^}}]*run="{run}"[^}}]*}} (\S+)$', re.MULTILINE)
        return pattern.findall(agent.get("/metrics")[1])

    wait_for(lambda: values("run_epochs_total") == ["3.0"], what="the epochs of rank 0 alone")
    assert values("run_steps_total") == ["15.0"]
    seconds = max(lines[-1]["mono"] for lines in events_of_ranks) - min(line["mono"] for line in starts)
    wait_for(
        lambda: [float(usd) for usd in values("run_cost_usd_total")] == [pytest.approx(seconds)], what="$1 a second"
    )
