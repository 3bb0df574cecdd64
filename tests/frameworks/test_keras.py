"""Keras 3 on each of its backends, really training."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.frameworks.real import facts, launch, train
from tests.training.programs import events_by_file

PROGRAM = """
import json, sys, time
import numpy, keras, epochcost
OPTIONS = json.loads(sys.argv[1])

class Clock(keras.callbacks.Callback):
    marks, iterations = [], []
    def on_epoch_begin(self, epoch, logs=None):
        if not self.marks:
            self.marks.append(time.monotonic())
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.03)
    def on_epoch_end(self, epoch, logs=None):
        self.marks.append(time.monotonic())
        self.iterations.append(int(self.model.optimizer.iterations))

model = keras.Sequential([keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.01, gradient_accumulation_steps=OPTIONS.get("accumulate")), "mse",
    steps_per_execution=OPTIONS.get("per_execution", 1))
callback = epochcost.keras_callback("net", batch_size=4)
x, y = numpy.random.rand(40, 3), numpy.random.rand(40, 1)
for fit in OPTIONS.get("fits", [{"epochs": 3}]):
    if OPTIONS.get("generator"):
        import torch
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter([(torch.rand(3), torch.rand(1)) for _ in range(40)])
        model.fit(torch.utils.data.DataLoader(Stream(), batch_size=4), callbacks=[callback, Clock()], verbose=0, **fit)
    else:
        model.fit(x, y, batch_size=4, validation_data=(x, y), callbacks=[callback, Clock()], verbose=0, **fit)
print(json.dumps({"marks": Clock.marks, "iterations": Clock.iterations}))
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_epochs_steps_and_times_are_keras_own(tmp_path: Path, backend: str):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    training = train(PROGRAM, tmp_path, "{}", KERAS_BACKEND=backend)
    training.agrees_with_the_outer_clock()
    assert [facts(end, "epoch", "step", "steps") for end in training.of("epoch_end")] == [
        (1, 10, 10),
        (2, 20, 10),
        (3, 30, 10),
    ]
    assert training.result["iterations"] == [10, 20, 30]
    assert facts(training.lines[-1], "status", "epochs", "batch_size", "samples") == ("finished", 3, 4, 120)
    assert [line["phase"] for line in training.of("phase")] == ["train", "eval", "train"] * 1 + ["eval", "train"] * 2


def test_accumulated_batches_make_fewer_steps(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"accumulate": 5}')
    assert [end["step"] for end in training.of("epoch_end")] == training.result["iterations"] == [2, 4, 6]


def test_several_batches_in_one_execution(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"per_execution": 4}', KERAS_BACKEND="jax")
    assert [end["step"] for end in training.of("epoch_end")] == [10, 20, 30]


def test_the_length_of_the_first_epoch_is_learned_at_its_end(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"generator": true}')
    assert [facts(end, "epoch", "step") for end in training.of("epoch_end")] == [(1, 10), (2, 20), (3, 30)]
    early = [line for line in training.of("progress") if line["step"] < 10]
    assert all("steps" not in line for line in early)
    assert training.of("epoch_end")[1]["steps"] == 10


def test_a_second_fit_is_the_next_segment_of_the_same_run(tmp_path: Path):
    launch(PROGRAM, tmp_path, '{"fits": [{"epochs": 1}, {"epochs": 2}]}')
    files = sorted(events_by_file(tmp_path).values(), key=lambda lines: lines[0]["mono"])
    assert len({lines[0]["run"] for lines in files}) == 1
    ends = [facts(line, "epoch", "step") for lines in files for line in lines if line["ev"] == "epoch_end"]
    assert ends == [(1, 10), (2, 20), (3, 30)]
    assert [lines[-1]["epochs"] for lines in files] == [1, 3]


def test_a_fit_with_an_initial_epoch_resumes_there(tmp_path: Path):
    launch(PROGRAM, tmp_path, '{"fits": [{"epochs": 1}, {"epochs": 3, "initial_epoch": 1}]}')
    files = sorted(events_by_file(tmp_path).values(), key=lambda lines: lines[0]["mono"])
    ends = [facts(line, "epoch", "step") for lines in files for line in lines if line["ev"] == "epoch_end"]
    assert ends == [(1, 10), (2, 20), (3, 30)]
    assert [lines[-1]["epochs"] for lines in files] == [1, 3]
