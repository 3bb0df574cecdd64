"""The same model in PyTorch."""

from __future__ import annotations

import numpy as np
import torch


class TorchModel:
    """Predicts the next character; knows ``characters`` of them."""

    name = "torch"

    def __init__(self, characters: int, hidden: int, rate: float, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.embedding = torch.nn.Embedding(characters, hidden).to(self.device)
        self.lstm = torch.nn.LSTM(hidden, hidden, batch_first=True).to(self.device)
        self.out = torch.nn.Linear(hidden, characters).to(self.device)
        parts = (self.embedding, self.lstm, self.out)
        self.optimizer = torch.optim.Adam([p for part in parts for p in part.parameters()], lr=rate)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Train on one batch of character ids, both of shape (batch, time); the loss."""
        x = torch.from_numpy(inputs).to(self.device)
        y = torch.from_numpy(targets).to(self.device)
        logits = self.out(self.lstm(self.embedding(x))[0])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss)
