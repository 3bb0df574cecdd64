"""Train a small character language model and report its epochs to epochcost, by the three lines marked so."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

# Matrices this small gain nothing from a second thread, and lose much when somebody else uses the other cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import epochcost

TEXT = Path(__file__).parent / "data" / "sonnets.txt"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--sequence", type=int, default=32, help="characters of one sample")
    parser.add_argument("--samples", type=int, default=3000, help="samples of one epoch")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--framework", choices=("auto", "numpy", "torch"), default="auto")
    parser.add_argument("--text", type=Path, default=TEXT)
    return parser.parse_args()


def model_for(args: argparse.Namespace, characters: int):
    if args.framework == "torch" or (args.framework == "auto" and find_spec("torch")):
        from lstm_torch import TorchModel

        return TorchModel(characters, args.hidden, args.rate)
    from lstm_numpy import NumpyModel

    return NumpyModel(characters, args.hidden, args.rate)


class Batches:
    """Random windows of the text: inputs, and targets that are one character further."""

    def __init__(self, ids: np.ndarray, args: argparse.Namespace) -> None:
        self.ids, self.args, self.rng = ids, args, np.random.default_rng(0)

    def __len__(self) -> int:
        return max(1, self.args.samples // self.args.batch_size)

    def __iter__(self):
        for _ in range(len(self)):
            starts = self.rng.integers(0, len(self.ids) - self.args.sequence - 1, self.args.batch_size)
            windows = self.ids[starts[:, None] + np.arange(self.args.sequence + 1)]
            yield windows[:, :-1], windows[:, 1:]


def main() -> None:
    args = arguments()
    text = args.text.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    ids = np.array([alphabet.index(character) for character in text])
    model, batches = model_for(args, len(alphabet)), Batches(ids, args)
    step = 0
    with epochcost.run(
        experiment="char-lm", epochs=args.epochs, batch_size=args.batch_size, framework=model.name
    ) as run:  # epochcost
        for epoch in run.epochs():  # epochcost
            for inputs, targets in run.batches(batches):  # epochcost
                loss = model.step(inputs, targets)
                step += 1
            cost = f", cost_usd={run.cost_usd:.6f}" if run.cost_usd is not None else ""
            print(f"{step:6}: {epoch} [{len(batches):5}/{len(batches):5}], train_loss={loss:.3f}{cost}", flush=True)


if __name__ == "__main__":
    main()
