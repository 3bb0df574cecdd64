"""If the guard of this machine asks a run to stop: the signals that its command understands, one after another."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence

from epochcost.training.cost import StopRequest


class StopSignals:
    """Sends the next signal when the one before has not ended the command in time.

    A training run that reports by itself reads the request by itself: it gets no signal before it is asked to stop
    at once. Nothing is killed before that.

    Args:
        signals: in the order in which they are sent.
        wait_seconds: between two of them.
        send: to the command.

    Attributes:
        policy: that stopped it; empty if none did.
    """

    def __init__(
        self, signals: Sequence[signal.Signals], wait_seconds: float, send: Callable[[signal.Signals], None]
    ) -> None:
        self.policy = ""
        self._left = list(signals)
        self._wait = wait_seconds
        self._send = send
        self._sent_at = -math.inf

    def look(self, request: StopRequest | None, now: float, *, reports_itself: bool) -> None:
        """The request at ``now`` (monotonic seconds)."""
        if request is None or not self._left or now - self._sent_at < self._wait:
            return
        if not request.at_once and (reports_itself or self._left[0] is signal.SIGKILL):
            return
        self.policy, self._sent_at = request.policy, now
        self._send(self._left.pop(0))
