"""Ultralytics, really training a small detector on pictures of noise."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.frameworks.real import facts, train

pytestmark = pytest.mark.skipif(find_spec("ultralytics") is None, reason="Ultralytics is not installed")
# Ultralytics needs torchvision, which has no build for the CPU's torch in every index: only its non-maximum suppression
# is used here, and Ultralytics has one of its own.
PROGRAM = """
import importlib.metadata as metadata, json, os, pathlib, sys, time, types
try:
    import torchvision
except (ImportError, RuntimeError):
    real = metadata.version
    metadata.version = lambda name: "0.28.0" if name == "torchvision" else real(name)
    vision = sys.modules["torchvision"] = types.ModuleType("torchvision")
    vision.__version__ = "0.28.0"
    def nms(boxes, scores, iou):
        from ultralytics.utils.nms import TorchNMS
        return TorchNMS.nms(boxes, scores, iou)
    vision.ops = types.SimpleNamespace(nms=nms)
import numpy, cv2, epochcost
from ultralytics import YOLO
for part in ("train", "val"):
    pictures, labels = pathlib.Path("data/images", part), pathlib.Path("data/labels", part)
    pictures.mkdir(parents=True), labels.mkdir(parents=True)
    for i in range(8):
        cv2.imwrite(str(pictures / f"{i}.png"), numpy.random.randint(0, 255, (32, 32, 3), dtype="uint8"))
        (labels / f"{i}.txt").write_text("0 0.5 0.5 0.4 0.4")
pathlib.Path("data.yaml").write_text(f"{{path: {os.getcwd()}/data, train: images/train, val: images/val, names: [x]}}")
model = YOLO("yolo11n.yaml")
marks, calls = [], []
epochcost.ultralytics_callbacks(model, "noise")
def begin(trainer):
    if not marks: marks.append(time.monotonic())
def end(trainer):
    calls.append(trainer.epoch)
    if len(calls) <= 3: marks.append(time.monotonic())
model.add_callback("on_train_epoch_start", begin)
model.add_callback("on_train_batch_end", lambda trainer: time.sleep(0.05))
model.add_callback("on_fit_epoch_end", end)
model.train(data="data.yaml", epochs=3, imgsz=32, batch=2, workers=0, plots=False, amp=False, device="cpu",
    optimizer="SGD", verbose=False, project=os.getcwd(), name="out")
print(json.dumps({"marks": marks, "calls": calls}))
"""


def test_epochs_batches_and_times_are_ultralytics_own(tmp_path: Path):
    training = train(PROGRAM, tmp_path, YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(tmp_path))
    training.agrees_with_the_outer_clock()
    assert len(training.result["calls"]) == 4  # one too many, after the final validation
    assert [facts(end, "epoch", "step", "steps") for end in training.of("epoch_end")] == [
        (1, 4, 4),
        (2, 8, 4),
        (3, 12, 4),
    ]
    rows = list(csv.DictReader((tmp_path / "out/results.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert facts(training.lines[-1], "status", "epochs", "batch_size", "samples_per_epoch") == ("finished", 3, 2, 8)
    assert [line["epoch"] for line in training.of("checkpoint")] == [1, 2, 3]
    assert [line["phase"] for line in training.of("phase")].count("eval") == 3
    assert "3 epochs" in training.out + training.err
