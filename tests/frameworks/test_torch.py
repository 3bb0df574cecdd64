"""A plain PyTorch loop, really training."""

from __future__ import annotations

from pathlib import Path

from tests.frameworks.real import facts, train

PROGRAM = """
import json, time
import torch, epochcost
net = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
loader = torch.utils.data.DataLoader(torch.rand(40, 4), batch_size=4, shuffle=True)
marks = []
with epochcost.run("net", epochs=3, batch_size=4) as run:
    time.sleep(0.1)
    marks.append(time.monotonic())
    for epoch in run.epochs():
        for batch in run.batches(loader):
            optimizer.zero_grad()
            net(batch).mean().backward()
            optimizer.step()
            time.sleep(0.05)
        with run.phase("eval"), torch.no_grad():
            net(torch.rand(40, 4))
        marks.append(time.monotonic())
print(json.dumps({"marks": marks}))
"""


def test_epochs_steps_and_times_are_the_loops_own(tmp_path: Path):
    training = train(PROGRAM, tmp_path)
    training.agrees_with_the_outer_clock()
    ends = [facts(end, "epoch", "step", "steps", "samples") for end in training.of("epoch_end")]
    assert ends == [(1, 10, 10, 40), (2, 20, 10, 80), (3, 30, 10, 120)]
    assert facts(training.lines[-1], "framework", "status", "batch_size") == ("torch", "finished", 4)
