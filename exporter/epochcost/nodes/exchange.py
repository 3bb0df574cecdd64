"""One HTTP exchange with an untrusted service: bounded in time and size, never redirected, never by a proxy.

A metadata service has an address that any network can use, so nothing it does may block, fill or mislead the agent.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from epochcost.http_client import OK, Answer, Bounds, ExchangeError, Request, ask, http_date
from epochcost.model import ClockReading
from epochcost.nodes.node_source import NodeError

MAX_ANSWER_BYTES = 256 * 1024
NOT_FOUND = 404


class MetadataError(NodeError):
    """A service did not respond, or not as documented; the text contains its name, the request and the response."""


@dataclass(frozen=True, slots=True)
class Service:
    """One HTTP service, queried without proxies and without following redirects.

    Attributes:
        name: how errors call it.
        url: ``http://HOST[:PORT]`` or ``https://...``, without a path.
        tls: needed for https.
        max_bytes: of a whole response.
    """

    name: str
    url: str
    tls: ssl.SSLContext | None = None
    max_bytes: int = MAX_ANSWER_BYTES

    def ask(self, path: str, headers: Mapping[str, str], deadline: float, method: str = "GET") -> Answer:
        """The response, whatever its status; ``deadline`` by the monotonic clock.

        Raises:
            MetadataError: without a whole response until then, or with one that is too long or no HTTP.
        """
        request = Request(f"{self.url}{path}", method, headers, by_proxy=False)
        try:
            return ask(request, Bounds(deadline, self.max_bytes), self.tls)
        except ExchangeError as err:
            raise MetadataError(f"{self.name}: {method} {path}: {err}") from None

    def clock(self, answer: Answer) -> ClockReading | None:
        """Its clock when it responded; None if it sends no time."""
        second = http_date(answer.headers.get("date", ""))
        return None if second is None else ClockReading(second, exact=False)

    def text(self, path: str, headers: Mapping[str, str], deadline: float) -> str:
        """The body of a 200 as text.

        Raises:
            MetadataError: for any other status, or bytes that are not UTF-8.
        """
        return self._body(self.ask(path, headers, deadline), path)

    def _body(self, answer: Answer, path: str) -> str:
        if answer.status != OK:
            raise MetadataError(f"{self.name}: GET {path}: HTTP {answer.status}")
        return self.decoded(answer, path)

    def held(self, answer: Answer, path: str) -> Mapping[str, Any]:
        """The body of a 200 as a JSON object. Raises MetadataError when it is none."""
        return self.parsed(self._body(answer, path), path)

    def document(self, path: str, headers: Mapping[str, str], deadline: float) -> Mapping[str, Any]:
        """The body of a 200 as a JSON object.

        Raises:
            MetadataError: when it is none.
        """
        return self.held(self.ask(path, headers, deadline), path)

    def decoded(self, answer: Answer, path: str) -> str:
        """The body as text. Raises MetadataError when it is none."""
        try:
            return answer.body.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise MetadataError(f"{self.name}: GET {path}: the response is not text: {answer.body[:40]!r}") from None

    def parsed(self, text: str, path: str) -> Mapping[str, Any]:
        """``text`` as a JSON object. Raises MetadataError when it is none."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise MetadataError(f"{self.name}: GET {path}: the response is not a JSON object: {text[:40]!r}")
        return document
