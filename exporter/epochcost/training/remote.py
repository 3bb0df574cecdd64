"""Reports to an agent over HTTP (``EPOCHCOST_URL``), from a thread of its own that the training never waits for."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import quote, urlsplit

from epochcost.training.bounded_post import NotAnAgentError, Request, post
from epochcost.training.claim_file import ClaimFile
from epochcost.training.cost import MAX_AGE_SECONDS, CostFile
from epochcost.training.host import name_in_files
from epochcost.training.warning import warn_once

MAX_LINES = 10_000
BATCH_LINES = 500
SEND_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
FINAL_SEND_SECONDS = 2.0
"""Maximum wait at the end of a run for its last line to arrive, and only while the agent has been responding."""
REFUSALS = 3
MAX_TOKEN_CHARACTERS = 8192


class RemoteWriter:
    """As `EventWriter`, but to ``url``; lines wait in a bounded queue and the oldest are dropped when it is full.

    A dropped line loses only its own detail: figures are absolute, and boundaries carry all facts. An unreachable agent
    is retried for ever, with growing intervals; one that refuses is given up after 3 times, and a server that does not
    respond like an agent (endless, trickling, not HTTP) at once and for good.

    Attributes:
        name, replaces, locked, dead: as of `EventWriter`; there is no file, so no lock.
        answer: the newest response of the agent, and when it came (monotonic seconds).
    """

    def __init__(self, url: str, token_file: str, run: str, claim: ClaimFile | None = None) -> None:
        self._claim = claim
        self.name = ""
        self.replaces = ""
        self.locked = False
        self.dead = False
        self.answer: tuple[dict[str, Any], float] = ({}, 0.0)
        self._writer = f"{run[:100]}-{name_in_files()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._url = urlsplit(url)
        self._token_file = token_file
        self._pid = os.getpid()
        self._lines: deque[bytes] = deque(maxlen=MAX_LINES)
        self._wake = threading.Event()
        self._closing = False
        self._tls: Any = None
        self._refused = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._run, name="epochcost-report", daemon=True)

    def attach(self) -> bool:
        """True once, for the first line."""
        return self.check()

    def check(self) -> bool:
        """As `attach`."""
        if self.dead or self.name or self._pid != os.getpid():
            return False
        self.name = self._writer
        self._thread.start()
        return True

    def put(self, line: bytes) -> bool:
        """Queue ``line``; never waits."""
        if self.dead or self._pid != os.getpid():
            return False
        self._lines.append(line)
        if self._claim is not None:
            self._claim.note(line)
        return True

    def close(self) -> None:
        """Send the last lines; waits for them only if the agent responds, and not for long."""
        self._closing = True
        self._wake.set()
        if self.name and not self.dead and not self._failed:
            self._thread.join(FINAL_SEND_SECONDS)
        if self._claim is not None:
            self._claim.close()
        self.dead = True

    def mute(self) -> None:
        """In a forked child, which has no such thread."""
        if self._claim is not None:
            self._claim.mute()
        self.dead = True

    def _run(self) -> None:
        while not self.dead:
            pause = SEND_SECONDS if not self._failed else min(LONGEST_PAUSE_SECONDS, SEND_SECONDS * 2.0**self._failed)
            self._wake.wait(pause)
            while self._lines and not self.dead and self._send():
                pass
            if self._closing:
                return

    def _send(self) -> bool:
        """Send the oldest lines; False when that has to be tried again."""
        batch = [self._lines[i] for i in range(min(BATCH_LINES, len(self._lines)))]
        try:
            status, body = self._post(b"".join(batch))
            document = _document(body) if status == 200 else {}  # noqa: PLR2004 - HTTP: taken
        except NotAnAgentError as err:
            self._give_up(str(err))
            return False
        except Exception as err:  # noqa: BLE001 - no fault of the network or of its library may reach the training
            self._failed += 1
            if self._failed == REFUSALS:
                warn_once("writer", f"{self._place} does not accept events ({type(err).__name__}: {err}); retrying")
            return False
        if status in (429, 507) or status >= 500:  # noqa: PLR2004 - HTTP: later
            self._failed += 1
            return False
        self._failed = 0
        if status == 200 or (status == 400 and body.startswith(b"{")):  # noqa: PLR2004 - taken, or never to be taken
            self._refused = 0
            if document:
                self.answer = (document, time.monotonic())
            self._forget(batch)
            return True
        self._refuse(status, body)
        return False

    def _forget(self, batch: list[bytes]) -> None:
        """The lines that were taken, unless the queue has dropped them meanwhile."""
        for line in batch:
            if self._lines and self._lines[0] is line:
                self._lines.popleft()

    def _refuse(self, status: int, body: bytes) -> None:
        self._refused += 1
        self._failed = 1
        if self._refused >= REFUSALS:
            self.dead = True
            text = body[:200].decode("utf-8", "replace")
            # Not `shown_text.one_line`: a training run loads nothing of the rest of the package.
            message = " ".join("".join(char if char.isprintable() else " " for char in text).split())
            failed = f"{self._place} responded {status}: {message}"
            warn_once("writer", f"this run is not reported: {failed}; training continues")

    def _give_up(self, why: str) -> None:
        self.dead = True
        warn_once(
            "writer", f"this run is not reported: {self._place} is not an epochcost agent: {why}; training continues"
        )

    @property
    def _place(self) -> str:
        return self._url.netloc.rpartition("@")[2]

    def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/x-ndjson"}
        if self._token_file:
            with open(self._token_file, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs the training its import
                headers["Authorization"] = f"Bearer {file.read(MAX_TOKEN_CHARACTERS).strip()}"
        path = f"{self._url.path.rstrip('/')}/v1/events?writer={quote(self._writer)}&now={time.time():.6f}"
        return post(self._url, Request(path, headers, body), TIMEOUT_SECONDS, self._tls_context)

    def _tls_context(self) -> Any:  # noqa: ANN401 - an SSL context, whose module most training runs never load
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
        return self._tls


class RemoteCost(CostFile):
    """The run's dollars from the agent's responses."""

    rewritten = False

    def __init__(self, run: str, writers: list[RemoteWriter]) -> None:
        super().__init__(_nowhere, run)
        self._writers = writers

    def _read(self) -> dict[str, object]:
        if not self._writers:
            return {}
        document, received_t = self._writers[-1].answer
        costs = document.get("costs")
        figures = (
            costs.get(self.run) if isinstance(costs, dict) and time.monotonic() - received_t < MAX_AGE_SECONDS else None
        )
        self._written_t = received_t
        return figures if isinstance(figures, dict) else {}


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NotAnAgentError("its response is not JSON")
    return document


def _nowhere() -> Any:  # noqa: ANN401 - never a path
    raise FileNotFoundError("dollars come over the network")
