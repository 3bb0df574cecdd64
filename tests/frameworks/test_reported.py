"""What real frameworks log is reported: the same figures under the same names."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.frameworks.real import launch
from tests.frameworks.test_ultralytics import PROGRAM as YOLO
from tests.training.programs import events

LIGHTNING = """
import json, torch, epochcost, lightning as L, warnings
warnings.filterwarnings("ignore")
class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss
    def validation_step(self, batch, index):
        self.log_dict({"val_loss": self.layer(batch).square().mean(), "val_acc": 0.25})
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
load = lambda: torch.utils.data.DataLoader(torch.rand(20, 4), batch_size=4)
trainer = L.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
    logger=False, enable_checkpointing=False, callbacks=[epochcost.lightning_callback("net")])
trainer.fit(Net(), load(), load())
shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
print(json.dumps({name: shown[name] for name in ("loss", "val_loss", "val_acc")}))
"""
HUGGINGFACE = """
import json, torch, epochcost
from transformers import Trainer, TrainingArguments
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        out = self.layer(x)
        return {"loss": (out.squeeze() - labels).pow(2).mean(), "logits": out}
rows = [{"x": torch.rand(4), "labels": torch.rand(())} for _ in range(20)]
trainer = Trainer(model=Net(), train_dataset=rows, eval_dataset=rows, compute_metrics=lambda _: {"accuracy": 0.75},
    args=TrainingArguments(output_dir="out", per_device_train_batch_size=4, num_train_epochs=2, report_to=[],
        use_cpu=True, disable_tqdm=True, logging_steps=1, eval_strategy="epoch", save_strategy="no"),
    callbacks=[epochcost.huggingface_callback("net")])
trainer.train()
shown = {}
for row in trainer.state.log_history: shown.update(row)
names = ("loss", "grad_norm", "learning_rate", "eval_loss", "eval_accuracy", "train_loss")
print(json.dumps({name: shown[name] for name in names}))
"""
KERAS = """
import json, keras, numpy, epochcost
model = keras.Sequential([keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
x, y = numpy.random.rand(40, 3), numpy.random.rand(40, 1)
history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0,
    callbacks=[epochcost.keras_callback("net")])
print(json.dumps({name: values[-1] for name, values in history.history.items()}))
"""
FASTAI = """
import json, torch, epochcost
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.metrics import mae
rows = [(torch.rand(4), torch.rand(1)) for _ in range(40)]
learn = Learner(DataLoaders(DataLoader(rows, bs=4), DataLoader(rows, bs=8)), torch.nn.Linear(4, 1),
    loss_func=torch.nn.functional.mse_loss, metrics=[mae], cbs=[epochcost.fastai_callback("net")])
learn.logger = lambda *_: None
learn.remove_cbs([cb for cb in learn.cbs if type(cb).__name__ == "ProgressCallback"])
learn.fit(2)
print(json.dumps(dict(zip(("train_loss", "valid_loss", "mae"), map(float, learn.recorder.values[-1])))))
"""
ULTRALYTICS = (
    YOLO[: YOLO.index("marks, calls")]
    + """
epochcost.ultralytics_callbacks(model, "noise")
last = {}
def note(trainer):
    if not last or trainer.epoch < 2: last.update(trainer.label_loss_items(trainer.tloss), **trainer.metrics)
model.add_callback("on_fit_epoch_end", note)
model.train(data="data.yaml", epochs=2, imgsz=32, batch=2, workers=0, plots=False, amp=False, device="cpu",
    optimizer="SGD", verbose=False, project=os.getcwd(), name="out")
print(json.dumps({name: float(value) for name, value in last.items()}))
"""
)
PROGRAMS = {
    "lightning": LIGHTNING, "transformers": HUGGINGFACE, "keras": KERAS, "fastai": FASTAI, "ultralytics": ULTRALYTICS,
}  # fmt: skip


def last_reported(directory: Path) -> dict[str, Any]:
    (*_, last) = (line["metrics"] for line in events(directory) if "metrics" in line)
    return dict(last)


@pytest.mark.parametrize("framework", PROGRAMS)
def test_the_last_values_are_those_of_the_framework(tmp_path: Path, framework: str):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    out, err = launch(PROGRAMS[framework], tmp_path, YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(tmp_path))
    logged = json.loads([line for line in out.splitlines() if line.startswith("{")][-1])
    reported = last_reported(tmp_path)
    assert reported
    assert "not reported" not in err
    if framework != "ultralytics":
        assert reported == pytest.approx(logged)
        return
    assert len(reported) == 8  # of thirteen
    assert reported == pytest.approx({name: logged[name] for name in reported}, abs=1e-4)
    assert {"train/box_loss", "train/cls_loss", "train/dfl_loss"} <= set(reported)


@pytest.mark.parametrize("framework", ["lightning", "transformers", "keras"])
def test_the_switch_keeps_them_out(tmp_path: Path, framework: str):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    launch(PROGRAMS[framework].replace('_callback("net"', '_callback("net", report_metrics=False'), tmp_path)
    assert not any("metrics" in line for line in events(tmp_path))
