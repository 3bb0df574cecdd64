"""``POST /v1/keep``: the link of a notice postpones an action of the guard."""

from __future__ import annotations

import json
from collections.abc import Callable

from epochcost.serve import Request, Response, Route, json_response, text
from epochcost.settings import between
from epochcost.shown_text import printable

MEDIA_TYPE = "application/json"
"""A form of another site's page cannot send it, and a script there would have to be allowed to."""
MAX_BODY_BYTES = 4096
MAX_WHY = 80
_duration = between("1m", "30d")
Keeps = Callable[[str, str, float, str, float], str]
"""Subject, link, seconds, why, now -> why it is not kept; empty if it is."""


def keep_gate(request: Request) -> Response | None:
    """What a request must be before its body is read."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        return text(415, f"send {MEDIA_TYPE}")
    if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        return text(413, f"at most {MAX_BODY_BYTES} bytes")
    return None


def keep_route(keep: Keeps, now: Callable[[], float]) -> Route:
    """The route: ``{"subject": "RUN or empty", "link": "...", "for": "4h", "why": "..."}``."""

    def route(request: Request) -> Response:
        """Postpones an action of the guard: JSON with ``subject``, ``link`` (of the notice), ``for`` and ``why``.

        400 for any other body; 403 if the link does not belong to a notice.
        """
        try:
            document = json.loads(request.body)
        except (ValueError, RecursionError):
            return text(400, "the body is not JSON")
        names = ("subject", "link", "for", "why")
        fields = {name: document.get(name, "") for name in names} if isinstance(document, dict) else {}
        if not fields or not all(isinstance(value, str) for value in fields.values()):
            return text(400, f"expected an object with the strings {', '.join(names)}")
        try:
            seconds = _duration(fields["for"])
        except ValueError as err:
            return text(400, f"for: {err}")
        why = printable(" ".join(fields["why"].split())[:MAX_WHY])
        refusal = keep(fields["subject"], fields["link"], seconds, why, now())
        return (
            text(403, refusal) if refusal else json_response(200, {"v": 1, "kept": fields["subject"], "for": seconds})
        )

    return route
