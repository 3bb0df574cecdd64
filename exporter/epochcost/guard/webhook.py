"""Sends notices to a URL, as JSON; a server that does not respond delays nothing."""

from __future__ import annotations

import collections
import json
import logging
import threading
import time
from collections.abc import Callable

from epochcost.guard.decisions import Notice
from epochcost.guard.policy import Webhook
from epochcost.http_client import Bounds, ExchangeError, Request, ask, host_of

log = logging.getLogger(__name__)
MAX_WAITING = 100
MAX_ANSWER_BYTES = 65536
TRIES = 3
PAUSE_SECONDS = 2.0


class Sender:
    """A thread that lives while there is something to send.

    Attributes:
        error: why the last notice could not be delivered; empty when it was.
        failures: notices that were dropped.
    """

    def __init__(self, webhook: Webhook, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.error = ""
        self.failures = 0
        self._webhook = webhook
        self._pause = pause_seconds
        self._waiting: collections.deque[bytes] = collections.deque(maxlen=MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def send(self, notice: Notice, machine: str, keep_url: str) -> None:
        """Send ``notice`` soon; the oldest is dropped if too many wait."""
        document = body(notice, machine, keep_url)
        with self._lock:
            self._waiting.append(json.dumps(document, allow_nan=False).encode())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="epochcost-guard-webhook", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Drop what still waits."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait until all is sent or dropped, at most this long."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._stop.is_set():
                    self._thread = None
                    return
                document = self._waiting.popleft()
            self._deliver(document)

    def _deliver(self, document: bytes) -> None:
        error = ""
        for number in range(TRIES):
            error = self._post(document)
            if not error or self._stop.wait(self._pause * 2**number):
                break
        if error:
            self.failures += 1
            if error != self.error:
                log.warning("guard: webhook at %s: %s", host_of(self._webhook.url), error)
        self.error = error

    def _post(self, document: bytes) -> str:
        request = Request(self._webhook.url, "POST", {"Content-Type": "application/json"}, document)
        try:
            answer = ask(request, Bounds.within(self._webhook.timeout_seconds, MAX_ANSWER_BYTES))
        except ExchangeError as err:
            return str(err)
        return "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"  # noqa: PLR2004 - HTTP


def body(notice: Notice, machine: str, keep_url: str, now: Callable[[], float] = time.time) -> dict[str, object]:
    """What is sent. ``text`` is what chat programs show."""
    keep = f" Keep it: {keep_url} (or `epochcost keep 4h` on the machine)." if keep_url else ""
    return {
        "v": 1,
        "text": f"{machine}: {notice.text}.{keep}",
        "ts": now(),
        "machine": machine,
        "policy": notice.policy,
        "run": notice.subject or None,
        "step": notice.step,
        "result": notice.result,
        "usd_per_hour": notice.usd_per_hour,
        "wasted_usd": notice.wasted_usd,
        "next_ts": notice.next_ts,
        "keep_url": keep_url or None,
    }
