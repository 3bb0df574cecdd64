"""Whether this machine is to be taken away, as the agent writes it beside the events."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from epochcost.training.cost import MAX_AMOUNT, small_file

NAME = "preemption.json"
READ_INTERVAL_SECONDS = 1.0
KINDS = ("interruption", "rebalance")


@dataclass(frozen=True, slots=True)
class PreemptionNotice:
    """The provider's notice that it will, or may soon, take this machine away.

    Attributes:
        kind: ``interruption`` (it will) or ``rebalance`` (the risk has risen).
        action: what will be done, in the provider's term (``terminate``, ``preempt``); empty if not reported.
        at_ts: when, in seconds since the Unix epoch; None if not reported: then at once.
        seen_ts: when the agent first received it.
    """

    kind: str
    action: str
    at_ts: float | None
    seen_ts: float | None


class NoticeFile:
    """``preemption.json``, read at most once a second, so that a loop may check at every step."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self._read_at = -math.inf
        self._notice: PreemptionNotice | None = None

    def notice(self) -> PreemptionNotice | None:
        """What is announced now; None when nothing is, and without an agent."""
        now = time.monotonic()
        if now - self._read_at >= READ_INTERVAL_SECONDS:
            self._read_at = now
            self._notice = self._read()
        return self._notice

    def _read(self) -> PreemptionNotice | None:
        try:
            document = json.loads(small_file(self._directory() / NAME))
        except (OSError, ValueError, RecursionError):  # nothing is announced, or there is no agent
            return None
        if not isinstance(document, dict) or document.get("v") != 1 or document.get("kind") not in KINDS:
            return None
        action = document.get("action")
        return PreemptionNotice(
            document["kind"],
            action if isinstance(action, str) else "",
            _ts(document.get("at_ts")),
            _ts(document.get("seen_ts")),
        )


def _ts(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MAX_AMOUNT:
        return None
    return float(value)
