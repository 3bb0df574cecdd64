"""Polls for the provider's notice that it takes this machine away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from epochcost.asking_thread import AskingThread
from epochcost.model import Node, PreemptionNotice
from epochcost.nodes.node_source import NodeError, NoticeSource

log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
"""As the providers recommend; the shortest warning is 30 s."""
QUESTION_SECONDS = 4.0
ONE_CLOCK_SECONDS = 2.0
"""Clocks that differ by less are taken for equal: a response takes time, and HTTP's own date has whole seconds."""


class Timeline(Protocol):
    """The node timeline."""

    def now(self) -> float:
        """The present on it."""

    def on_wall(self, t: float) -> float:
        """The wall clock at ``t`` of the timeline."""


class NoticeFeed(AskingThread):
    """Keeps what is announced. A request that fails changes nothing: what was announced is valid until it is retracted.

    Args:
        source_of: the source of notices for a node, None for one that is never taken away.
        node: the node as it is known now; it may become better known.
        timeline: the node's, to which the provider's dates are mapped.
    """

    def __init__(
        self, source_of: Callable[[Node], NoticeSource | None], node: Callable[[], Node], timeline: Timeline
    ) -> None:
        super().__init__("epochcost-notices")
        self._source_of = source_of
        self._node = node
        self._timeline = timeline
        self._source_node: Node | None = None
        self._source: NoticeSource | None = None
        self.notice: PreemptionNotice | None = None

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask()
            self._stop.wait(POLL_SECONDS)

    def _ask(self) -> bool:
        source = self._listened_to()
        if source is None:
            self.notice = self.last_duration = None
            self.error = ""
            return True
        began = time.perf_counter()
        error = ""
        try:
            self._take(source.notice(time.monotonic() + QUESTION_SECONDS))
        except NodeError as err:
            error = str(err)
        except Exception as err:
            log.exception("listening for notices failed with an unexpected error")
            error = f"{type(err).__name__}: {err}"
        if error and error != self.error:
            log.warning("preemption notices: %s", error)
        self.error, self.last_duration = error, time.perf_counter() - began
        return not error

    def _listened_to(self) -> NoticeSource | None:
        node = self._node()
        if node is not self._source_node:
            self._source_node, self._source = node, self._source_of(node)
        return self._source

    def _take(self, newest: PreemptionNotice | None) -> None:
        before = self.notice
        if newest is None:
            self.notice = None
            return
        now = self._timeline.now()
        at = self._on_timeline(newest, now)
        if before is None or before.kind != newest.kind:
            self.notice = replace(newest, seen_ts=now, at_t=at)
            log.warning("preemption: %s", sentence(self.notice))
            return
        if at is not None and before.at_t is not None and abs(at - before.at_t) < ONE_CLOCK_SECONDS:
            at = before.at_t
        self.notice = replace(newest, seen_ts=before.seen_ts, at_t=at)

    def _on_timeline(self, newest: PreemptionNotice, now: float) -> float | None:
        """When it is to happen, by the difference of clocks when the provider announced it."""
        if newest.at_ts is None:
            return None
        theirs = ours = self._timeline.on_wall(now)
        if newest.provider_clock is not None:
            dated = newest.provider_clock.ts + (0.0 if newest.provider_clock.exact else 0.5)
            theirs = dated if abs(dated - ours) > ONE_CLOCK_SECONDS else ours
        return now + (newest.at_ts - theirs)


def sentence(notice: PreemptionNotice) -> str:
    """A notice for people; its time is the provider's."""
    if notice.kind == "rebalance":
        return "the provider reports an elevated risk of preemption for this machine"
    at = "" if notice.at_ts is None else time.strftime(" at %H:%M:%S UTC", time.gmtime(notice.at_ts))
    return f"the provider will preempt this machine{at or ' within seconds'} ({notice.action or notice.kind})"
