"""MosaicML Composer, really training, where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.frameworks.real import facts, launch
from tests.training.programs import events_by_file

pytest.importorskip("composer")
PROGRAM = """
import warnings
warnings.filterwarnings("ignore")
import torch, epochcost
from composer import Callback, Trainer
from composer.models import ComposerModel

class Net(ComposerModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, batch):
        return self.layer(batch)
    def loss(self, outputs, batch):
        return outputs.square().mean()
    def eval_forward(self, batch, outputs=None):
        return self.layer(batch)
    def get_metrics(self, is_train=False):
        return {}

class Breaks(Callback):
    def batch_end(self, state, logger):
        if state.timestamp.batch.value == 12:
            raise ArithmeticError("somebody else's")

def trainer(name, *more):
    net = Net()
    load = torch.utils.data.DataLoader(torch.rand(40, 4), batch_size=4)
    return Trainer(model=net, train_dataloader=load, max_duration="3ep", device="cpu", progress_bar=False,
        optimizers=torch.optim.SGD(net.parameters(), 0.1), callbacks=[epochcost.composer_callback(name), *more])

broken = trainer("broken", Breaks())
try:
    broken.fit()
except ArithmeticError:
    pass
trainer("whole").fit()
"""


def test_epochs_and_steps_are_composers_own_and_a_failed_fit_does_not_absorb_the_next(tmp_path: Path):
    launch(PROGRAM, tmp_path)
    runs = {str(lines[0]["experiment"]): lines for lines in events_by_file(tmp_path).values()}
    ends = [facts(line, "epoch", "step") for line in runs["whole"] if line["ev"] == "epoch_end"]
    assert ends == [(1, 10), (2, 20), (3, 30)]
    assert facts(runs["whole"][-1], "status", "epochs", "batch_size") == ("finished", 3, 4)
    assert facts(runs["broken"][-1], "status", "step") == ("failed", 12)
