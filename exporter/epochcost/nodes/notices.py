"""Listens for the provider's word that it takes this machine away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from epochcost.model import Node, PreemptionNotice
from epochcost.nodes.node_source import NodeError, NoticeSource

log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
"""As the providers recommend; the shortest warning is 30 s."""
QUESTION_SECONDS = 4.0


class NoticeFeed:
    """Keeps what is announced. A question that fails changes nothing: what was announced holds until taken back.

    Args:
        source_of: who says it for a node, None for one that is never taken away.
        node: the node as it is known now; it may become better known.
        now: the node timeline.
    """

    def __init__(
        self, source_of: Callable[[Node], NoticeSource | None], node: Callable[[], Node], now: Callable[[], float]
    ) -> None:
        self._source_of = source_of
        self._node = node
        self._now = now
        self._asked_for: Node | None = None
        self._source: NoticeSource | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochcost-notices", daemon=True)
        self.notice: PreemptionNotice | None = None
        self.asking_since: float | None = None
        """When the question under way was asked (monotonic seconds); None between two."""
        self.error = ""
        """Why the last question failed."""
        self.last_duration: float | None = None
        """Seconds of the last question; None where nobody is asked."""

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; a question under way ends by itself, and is not waited for longer than a second."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask()
            self._stop.wait(POLL_SECONDS)

    def ask(self) -> None:
        """Ask once, if there is somebody to ask. Never raises."""
        self.asking_since = time.monotonic()
        try:
            self._ask()
        finally:
            self.asking_since = None

    def _ask(self) -> None:
        source = self._listened_to()
        if source is None:
            self.notice = self.last_duration = None
            self.error = ""
            return
        began = time.perf_counter()
        error = ""
        try:
            self._hear(source.notice(time.monotonic() + QUESTION_SECONDS))
        except NodeError as err:
            error = str(err)
        except Exception as err:
            log.exception("listening for notices failed in a way that was not foreseen")
            error = f"{type(err).__name__}: {err}"
        if error and error != self.error:
            log.warning("preemption notices: %s", error)
        self.error, self.last_duration = error, time.perf_counter() - began

    def _listened_to(self) -> NoticeSource | None:
        node = self._node()
        if node is not self._asked_for:
            self._asked_for, self._source = node, self._source_of(node)
        return self._source

    def _hear(self, said: PreemptionNotice | None) -> None:
        before = self.notice
        if said is None:
            self.notice = None
            return
        known = before is not None and before.kind == said.kind
        self.notice = replace(said, seen_ts=before.seen_ts if known and before is not None else self._now())
        if not known:
            log.warning("preemption: %s", sentence(self.notice))


def sentence(notice: PreemptionNotice) -> str:
    """A notice for people."""
    if notice.kind == "rebalance":
        return "the provider says that this machine is at a raised risk of being taken away"
    at = "" if notice.at_ts is None else time.strftime(" at %H:%M:%S UTC", time.gmtime(notice.at_ts))
    return f"the provider takes this machine away{at or ' within seconds'} ({notice.action or notice.kind})"
