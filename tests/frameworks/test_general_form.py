"""Frameworks without an epochcost callback: real training runs with the general form of docs/frameworks.md."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.frameworks.real import facts, launch
from tests.training.programs import events

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
DATA = {
    "accelerate": """
        import torch
        from accelerate import Accelerator
        from torch.utils.data import DataLoader, TensorDataset
        net = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        loader = DataLoader(TensorDataset(torch.rand(40, 4), torch.rand(40, 1)), batch_size=4)
        """,
    "ignite": """
        import torch
        from ignite.engine import Engine
        net = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        loader = torch.rand(40, 4).split(4)
        def train_step(engine, batch):
            net(batch).mean().backward(), optimizer.step(), optimizer.zero_grad()
        """,
    "skorch": """
        import torch
        from skorch import NeuralNetRegressor
        net, x, y = torch.nn.Linear(4, 1), torch.rand(40, 4), torch.rand(40, 1)
        """,
    "xgboost": "import numpy\nx, y = numpy.random.rand(40, 4), numpy.random.rand(40)",
    "lightgbm": "import numpy\nx, y = numpy.random.rand(200, 4), numpy.random.rand(200)",
    "sklearn": "import numpy\nbatches = [(numpy.random.rand(4, 3), numpy.array([0, 1, 0, 1])) for _ in range(10)]",
}
STEPS = {"accelerate": 10, "ignite": 10, "skorch": None, "xgboost": None, "lightgbm": None, "sklearn": 10}


def example(name: str) -> str:
    """The page's example that imports ``name``."""
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (only,) = (block for block in blocks if re.search(rf"^(from|import) {name}\b", block, flags=re.MULTILINE))
    return str(only)


@pytest.mark.parametrize("name", DATA)
def test_the_form_that_the_page_shows_reports_epochs_and_steps(tmp_path: Path, name: str):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    import textwrap

    launch(textwrap.dedent(DATA[name]) + "\n" + example(name), tmp_path)
    lines = list(events(tmp_path))
    ends = [facts(line, "epoch", "step") for line in lines if line["ev"] == "epoch_end"]
    steps = STEPS[name]
    assert ends == [(number, None if steps is None else steps * number) for number in (1, 2, 3)]
    assert facts(lines[-1], "ev", "status", "epochs") == ("end", "finished", 3)
