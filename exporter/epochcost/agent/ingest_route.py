"""``POST /v1/events``: training that shares no directory with the agent reports here."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from epochcost.model import ClockReading
from epochcost.serve import Gate, Request, Response, Route, json_response, text

log = logging.getLogger(__name__)
MAX_TOKEN_CHARACTERS = 8192
MEDIA_TYPES = ("application/x-ndjson", "application/json")
"""A web page can send neither to another origin without being allowed to, so no page can report events."""


class Takes(Protocol):
    """What became of a request's lines."""

    accepted: int
    rejected: int
    reasons: list[dict[str, object]]
    runs: set[str]


def intake_gate(closed: Callable[[], str], token_file: str) -> Gate:
    """Access control of events, applied before a byte of them is read.

    Args:
        closed: why this agent accepts none at all; empty if it accepts them.
        token_file: holds the token that requests must carry; read again each time, so it may change. Empty: none.
    """

    def gate(request: Request) -> Response | None:
        if why := closed():
            return text(403, why)
        if not _allowed(request, token_file):
            return text(401, "this agent requires the token in its --intake.token-file", {"WWW-Authenticate": "Bearer"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
            return text(415, f"send JSON lines as {MEDIA_TYPES[0]}")
        return None

    return gate


def intake_route(
    take: Callable[[str, bytes, ClockReading | None], Takes],
    clock_of: Callable[[str, str], ClockReading | None],
    costs: Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]],
    refused: type[Exception],
) -> Route:
    """The route, behind `intake_gate`.

    Args:
        take: keeps a writer's lines, or raises ``refused`` (which has a ``status``).
        clock_of: the sender's clock, from ``?now=`` and the header ``Date``.
        costs: what the agent knows of the dollars of runs, by run, in the form of ``<run>.cost.json``.
        refused: the exception of ``take``.
    """

    def events(request: Request) -> Response:
        """Events of training processes that share no directory with the agent, as JSON lines.

        ``?writer=`` names the process, ``?now=`` its clock. Returns how many lines were accepted and rejected, the
        reasons, and the costs of their runs; 400 if none was accepted, 401 or 403 for unauthorised senders, 429 for too
        many requests, 507 for no space.
        """
        writers, nows = request.query.get("writer", ()), request.query.get("now", ("",))
        clock = clock_of(nows[0] if len(nows) == 1 else "", request.headers.get("date", ""))
        try:
            taken = take(writers[0] if len(writers) == 1 else _writer_of(request.body), request.body, clock)
        except refused as err:
            return text(getattr(err, "status", 400), str(err), {"Retry-After": "1"})
        status = 400 if taken.rejected and not taken.accepted else 200
        answer = {"v": 1, "accepted": taken.accepted, "rejected": taken.rejected, "reasons": taken.reasons}
        return json_response(status, {**answer, "costs": costs(sorted(taken.runs))})

    return events


def _writer_of(body: bytes) -> str:
    """Without ``?writer=``: the run of the first line, so that ``curl`` is enough for a process that is alone."""
    try:
        run = json.loads(body.split(b"\n", 1)[0])["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unnamed"
    return run if isinstance(run, str) else "unnamed"


def _allowed(request: Request, token_file: str) -> bool:
    """By a password or a certificate, where these are required, or by the token."""
    if not token_file or request.proved:
        return True
    try:
        with Path(token_file).open(encoding="utf-8") as file:
            token = file.read(MAX_TOKEN_CHARACTERS).strip()
    except (OSError, UnicodeDecodeError) as err:
        log.warning("events from the network are refused: %s", err)
        return False
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    credential = credential.strip() if scheme.lower() == "bearer" else ""
    import hmac

    return bool(token) and hmac.compare_digest(credential.encode("latin-1"), token.encode())
