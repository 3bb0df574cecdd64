"""Losses and accuracies on progress lines: only unambiguously named ones."""

from __future__ import annotations

import math
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.launch.test_exec_process import launch
from tests.training.programs import events

from epochcost.launch.reading.named_metrics import named_metrics

NAMED = {
    "Epoch 3/10 - 12s - loss: 0.3100 - accuracy: 0.9000 - val_loss: 0.4000": {
        "loss": 0.31, "accuracy": 0.9, "val_loss": 0.4,
    },
    "120/469 [===>....] - ETA: 3s - loss: 0.25 - accuracy: 0.5": {"loss": 0.25, "accuracy": 0.5},
    "{'loss': 0.5, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 1.0}": {"loss": 0.5},
    "{'loss': '0.3312', 'grad_norm': '1.2', 'epoch': '1.23'}": {"loss": 0.3312},
    "{'eval_loss': 0.4, 'eval_runtime': 1.2, 'epoch': 1.0}": {"eval_loss": 0.4},
    "Epoch 1: 50%|###  | 5/10 [00:01<00:01, 4.5it/s, loss=0.53, v_num=0]": {"loss": 0.53},
    "Epoch 3, train loss: 0.5, val loss: 0.61": {"train_loss": 0.5, "val_loss": 0.61},
    "Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.292192": {"Loss": 2.292192},
    "step 10 loss: 1e-05": {"loss": 1e-05},
    "2024-01-01 10:00:00 INFO epoch 3 loss=-0.5": {"loss": -0.5},
    "epoch 2 | aux/cls_loss: 0.75 | ppl: 12.5": {"aux/cls_loss": 0.75, "ppl": 12.5},
}  # fmt: skip
NOT_SURE = (
    "Epoch: [0]  [10/100]  eta: 0:00:10  loss: 2.30 (2.40)",  # which of the two
    "epoch 3 | train loss 0.5 | val loss 0.6",  # the number need not be the loss
    "epoch 3 acc: 93.2%",
    "epoch 3 Accuracy: 97/100 (97%)",
    "Validation epoch 3 loss: 0.7",  # of which data
    "Test set: Average loss: 0.0300",
    "Best val_loss: 0.31 epoch 3",
    "epoch 3: val_loss: 0.31, improved from 0.4",
    "epoch 3 best_loss: 0.5",
    "[rank1]: epoch 3 loss: 0.5",
    "epoch 3 total loss: 0.55",
    "epoch 3 train: loss=0.5 val: loss=0.6",
    "epoch 3 loss: 5",
    "epoch 3 loss_scale: 65536.0",
    "epoch 3 gloss: 1.5 losses: 0.25",
    "epoch 3 loss: 1.2.3",
    "epoch 3 loss: 0.5s",
)


@pytest.mark.parametrize("line", NAMED)
def test_unambiguous_names(line: str):
    assert named_metrics(line.encode()) == NAMED[line]


@pytest.mark.parametrize("line", NOT_SURE)
def test_ambiguous_values_are_left_out(line: str):
    assert named_metrics(line.encode()) == {}


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-inf"])
def test_a_loss_that_is_not_a_number_is_reported_as_null(word: str):
    assert not math.isfinite(named_metrics(f"epoch 3 loss: {word}".encode())["loss"])


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"loss: {text}0.5".encode()))
def test_any_bytes_give_numbers_or_nothing(line: bytes):
    assert all(isinstance(value, float) for value in named_metrics(line).values())


TRAINING = """
import sys, time
print("label_loss: 9.5")
for epoch in range(3):
    time.sleep(0.1)
    val = 0.75 if epoch < 2 else float("nan")
    print(f"Epoch {epoch + 1}/3 - loss: {0.5 / (epoch + 1)} - val_loss: {val}", flush=True)
"""


def test_an_unmodified_command_reports_its_loss(tmp_path: Path):
    completed = launch(tmp_path, sys.executable, "-c", textwrap.dedent(TRAINING))
    assert completed.returncode == 0
    metrics = [line.get("metrics") for line in events(tmp_path) if line["ev"] in ("start", "epoch_end", "end")]
    assert metrics[0] is None
    assert {"loss": 0.25, "val_loss": 0.75} in metrics  # the first line counts once a second has confirmed it
    assert metrics[-2:] == [{"loss": 0.5 / 3, "val_loss": None}] * 2


def test_the_variable_disables_it(tmp_path: Path):
    launch(tmp_path, sys.executable, "-c", textwrap.dedent(TRAINING), EPOCHCOST_REPORT_METRICS="0")
    assert not any("metrics" in line for line in events(tmp_path))
