"""A loop in JAX and Flax, really training."""

from __future__ import annotations

from pathlib import Path

from tests.frameworks.real import facts, train

PROGRAM = """
import json, time
import jax, optax, epochcost
from flax import linen
net = linen.Dense(1)
x, y = jax.random.normal(jax.random.key(0), (40, 4)), jax.numpy.ones((40, 1))
weights = net.init(jax.random.key(1), x)
optimizer = optax.sgd(0.01)
state = optimizer.init(weights)

@jax.jit
def step(weights, state, x, y):
    slope = jax.grad(lambda w: ((net.apply(w, x) - y) ** 2).mean())(weights)
    change, state = optimizer.update(slope, state)
    return optax.apply_updates(weights, change), state

marks = []
with epochcost.jax_run("dense", epochs=3, batch_size=4) as run:
    marks.append(time.monotonic())
    for epoch in run.epochs():
        for i in run.batches(range(10)):
            weights, state = step(weights, state, x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
            time.sleep(0.03)
        jax.block_until_ready(weights)
        marks.append(time.monotonic())
print(json.dumps({"marks": marks}))
"""


def test_a_loop_in_jax(tmp_path: Path):
    training = train(PROGRAM, tmp_path)
    training.agrees_with_the_outer_clock()
    assert [facts(end, "epoch", "step", "samples") for end in training.of("epoch_end")] == [
        (1, 10, 40),
        (2, 20, 80),
        (3, 30, 120),
    ]
    assert facts(training.lines[-1], "framework", "status", "batch_size") == ("jax", "finished", 4)
    assert "memory_peak_bytes" not in training.lines[-1]  # JAX does not report it on a CPU
