"""A one-layer LSTM character model in plain NumPy: forward, backward through time, Adam."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class NumpyModel:
    """Predicts the next character; knows ``characters`` of them."""

    name = "numpy"

    def __init__(self, characters: int, hidden: int, rate: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        scale = 1 / np.sqrt(hidden)
        self.hidden, self.rate, self.steps = hidden, rate, 0
        self.weights: Arrays = {
            "x": rng.uniform(-scale, scale, (characters, 4 * hidden)).astype(np.float32),
            "h": rng.uniform(-scale, scale, (hidden, 4 * hidden)).astype(np.float32),
            "b": np.zeros(4 * hidden, np.float32),
            "out": rng.uniform(-scale, scale, (hidden, characters)).astype(np.float32),
            "out_b": np.zeros(characters, np.float32),
        }
        self.first = {name: np.zeros_like(w) for name, w in self.weights.items()}
        self.second = {name: np.zeros_like(w) for name, w in self.weights.items()}

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Train on one batch of character ids, both of shape (batch, time); the loss."""
        states, outputs = self._forward(inputs)
        loss, grad_outputs = self._loss(outputs, targets)
        self._adam(self._backward(inputs, states, outputs, grad_outputs))
        return loss

    def _forward(self, inputs: np.ndarray) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray]:
        w, n = self.weights, self.hidden
        batch, time = inputs.shape
        h = c = np.zeros((batch, n), np.float32)
        states, outputs = [], np.empty((time, batch, n), np.float32)
        for t in range(time):
            gates = w["x"][inputs[:, t]] + h @ w["h"] + w["b"]
            i, f, o = (sigmoid(gates[:, k * n : (k + 1) * n]) for k in range(3))
            g = np.tanh(gates[:, 3 * n :])
            before_h, before_c = h, c
            c = f * c + i * g
            tanh_c = np.tanh(c)
            h = o * tanh_c
            states.append((i, f, o, g, before_h, before_c, tanh_c))
            outputs[t] = h
        return states, outputs

    def _loss(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        logits = outputs @ self.weights["out"] + self.weights["out_b"]
        logits -= logits.max(axis=-1, keepdims=True)
        chances = np.exp(logits)
        chances /= chances.sum(axis=-1, keepdims=True)
        time, batch = outputs.shape[:2]
        at = (np.arange(time)[:, None], np.arange(batch)[None, :], targets.T)
        loss = float(-np.log(chances[at] + 1e-9).mean())
        chances[at] -= 1
        return loss, chances / (time * batch)

    def _backward(
        self, inputs: np.ndarray, states: list[tuple[np.ndarray, ...]], outputs: np.ndarray, grad: np.ndarray
    ) -> Arrays:
        w, n = self.weights, self.hidden
        grads = {name: np.zeros_like(weight) for name, weight in w.items()}
        grads["out"] = np.tensordot(outputs, grad, axes=([0, 1], [0, 1]))
        grads["out_b"] = grad.sum(axis=(0, 1))
        to_h = grad @ w["out"].T
        next_h = next_c = np.zeros((inputs.shape[0], n), np.float32)
        for t in reversed(range(len(states))):
            i, f, o, g, before_h, before_c, tanh_c = states[t]
            dh = to_h[t] + next_h
            dc = dh * o * (1 - tanh_c**2) + next_c
            gates = np.concatenate(
                (dc * g * i * (1 - i), dc * before_c * f * (1 - f), dh * tanh_c * o * (1 - o), dc * i * (1 - g**2)),
                axis=1,
            )
            np.add.at(grads["x"], inputs[:, t], gates)
            grads["h"] += before_h.T @ gates
            grads["b"] += gates.sum(axis=0)
            next_h, next_c = gates @ w["h"].T, dc * f
        return grads

    def _adam(self, grads: Arrays) -> None:
        self.steps += 1
        for name, grad in grads.items():
            np.clip(grad, -1, 1, out=grad)
            self.first[name] += 0.1 * (grad - self.first[name])
            self.second[name] += 0.001 * (grad**2 - self.second[name])
            first = self.first[name] / (1 - 0.9**self.steps)
            second = self.second[name] / (1 - 0.999**self.steps)
            self.weights[name] -= self.rate * first / (np.sqrt(second) + 1e-8)
