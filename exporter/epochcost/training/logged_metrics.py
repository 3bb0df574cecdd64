"""Which of the numbers that a framework logs by itself are reported: its losses, accuracies, and a few others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from epochcost.training.reported import MAX_NAMES, POSITIONS

MAX_OTHERS = 4
"""Names that are neither a loss nor a measure of quality: the later ones of these two would find no place else."""
_QUALITY = re.compile(
    r"loss|acc|err|perplexity|ppl|score|(?<![a-z])(?:f1|auc|i(?:o)?u|m?ap\d*|mae|r?mse|bleu|rouge\w*|wer|cer|reward)",
    re.IGNORECASE,
)
_NO_METRIC = re.compile(
    r"(?:^|[/_])(?:runtime|time|total_flos|flos|num_tokens|num_input_tokens_seen|\w*_per_second\w*)$|^epochcost/",
    re.IGNORECASE,
)
"""Clocks, counts and speeds, which are reported elsewhere, and our own figures."""


class LoggedMetrics:
    """Chooses by name; what was chosen once stays chosen."""

    def __init__(self) -> None:
        self._chosen: dict[str, bool] = {}

    def chosen(self, logged: Mapping[str, Any]) -> dict[str, Any]:
        """Of ``logged``, what has a name that is worth a place, and is a number as far as one can see."""
        return {name: value for name, value in logged.items() if is_one_number(value) and self._wanted(name)}

    def _wanted(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        choice = self._chosen.get(name)
        if choice is None and len(self._chosen) < 16 * MAX_NAMES:
            choice = self._chosen[name] = name not in POSITIONS and not _NO_METRIC.search(name) and self._place(name)
        return bool(choice)

    def _place(self, name: str) -> bool:
        chosen_names = [other for other, choice in self._chosen.items() if choice]
        if len(chosen_names) >= MAX_NAMES:
            return False
        return _QUALITY.search(name) is not None or sum(not _QUALITY.search(one) for one in chosen_names) < MAX_OTHERS


def is_one_number(value: object) -> bool:
    """Whether ``value`` is a number, or a tensor or an array that holds one."""
    if isinstance(value, (bool, str, bytes)) or value is None:
        return False
    if isinstance(value, (int, float)):
        return True
    shape = getattr(value, "shape", None)
    try:
        return shape is not None and all(size == 1 for size in shape)
    except TypeError:
        return False
