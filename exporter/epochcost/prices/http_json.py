"""JSON over HTTP for price sources: bounded in time, size and attempts; errors name host and status, never a key."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from epochcost._version import __version__
from epochcost.http_client import (
    OK,
    Bounds,
    ConnectError,
    ExchangeError,
    InvalidRequestError,
    Request,
    Stream,
    TooLongError,
    host_of,
    open_stream,
    place_of,
)
from epochcost.prices.json_pieces import loads
from epochcost.prices.one_at_a_time import waiting
from epochcost.prices.price_source import PriceSourceError
from epochcost.shown_text import one_line

_RANDOM = random.Random()  # noqa: S311 - spreads requests; its own, so that no thread moves the program's

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3
FEWEST_SECRET = 6
"""Characters of a key that is a secret: a shorter one would only garble messages."""
MIB = 1024**2
MOST_PAGES = 200
_MOST_CHARACTERS = 200
_PASSING = (429, 500, 502, 503, 504)
"""Statuses after which the same request may well succeed a little later."""


class HttpError(PriceSourceError):
    """No usable response. ``status``: the HTTP status, None if there was none; ``passing``: worth another attempt."""

    def __init__(self, sentence: str, status: int | None = None, *, passing: bool = True, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.status = status
        self.passing = passing
        self.wait_seconds = wait


@dataclass(frozen=True, slots=True)
class JsonApi:
    """Requests of one source to one HTTP API.

    Attributes:
        source: its name, for errors.
        key_file: holds the API key, sent as a bearer token; read at every request, so it may change. Empty: none.
        attempt_seconds: for one attempt, from the name's resolution to the last byte.
        total_seconds: for one request with all its attempts and waits.
        attempts: at most, where a failure may pass (429, 5xx, a broken connection, half a response).
        backoff_seconds: before the second attempt; doubles. A longer ``Retry-After`` is respected.
        max_bytes: of one response.
        sleep: waits for a number of seconds.
    """

    source: str
    key_file: str = ""
    attempt_seconds: float = 45.0
    total_seconds: float = 90.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    max_bytes: int = 32 * MIB
    sleep: Callable[[float], None] = time.sleep

    def get(self, url: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at ``url``.

        Raises:
            HttpError: naming source, host, path and what came back.
            PriceSourceError: for a key file that cannot be used.
        """
        return self._ask(f"{url}?{urlencode(query)}" if query else url, None)

    def post(self, url: str, body: object) -> dict[str, Any]:
        """The JSON object in the response to ``body``; raises as `get` does. Only for requests that change nothing."""
        return self._ask(url, json.dumps(body).encode())

    def pages(
        self, url: str, query: Mapping[str, str], link: Callable[[Mapping[str, Any]], object]
    ) -> Iterator[dict[str, Any]]:
        """Every page from ``url`` on; ``link`` finds in a page the link to the next one, empty in the last.

        Only the query of a link is used, so no response can lead the key to another host, and a proxy stays in between.

        Raises:
            HttpError: as `get` does, for a link that is none or was followed before, and after `MOST_PAGES`.
        """
        return self._pages(url, query, link, lambda text: dict(parse_qsl(urlsplit(text).query, keep_blank_values=True)))

    def token_pages(
        self, url: str, query: Mapping[str, str], token_field: str, parameter: str
    ) -> Iterator[dict[str, Any]]:
        """Every page from ``url`` on; ``token_field`` of a page is the value of ``parameter`` for the next.

        Raises:
            HttpError: as `pages` does.
        """
        return self._pages(url, query, lambda page: page.get(token_field), lambda text: {**query, parameter: text})

    def _pages(
        self,
        url: str,
        query: Mapping[str, str],
        link: Callable[[Mapping[str, Any]], object],
        following_query: Callable[[str], Mapping[str, str]],
    ) -> Iterator[dict[str, Any]]:
        followed: set[str] = set()
        for _ in range(MOST_PAGES):
            page = self.get(url, query)
            yield page
            following = link(page)
            if not following:
                return
            if not isinstance(following, str) or following in followed:
                raise HttpError(f"{self._where(url)}: invalid next-page link", passing=False)
            followed.add(following)
            query = following_query(following)
        raise HttpError(f"{self._where(url)}: more than {MOST_PAGES} pages", passing=False)

    def _where(self, url: str) -> str:
        return f"{self.source}: {self._question(url, 'GET')}"

    def _ask(self, url: str, body: bytes | None) -> dict[str, Any]:
        deadline = time.monotonic() + self.total_seconds
        key = self._key()
        for attempt in range(1, self.attempts + 1):
            try:
                return self._attempt(url, body, key, deadline)
            except HttpError as err:  # noqa: PERF203 - the loop is the attempts
                wait = self.backoff_seconds * 2.0 ** (attempt - 1) * _RANDOM.uniform(1.0, 1.25)  # spread
                wait = max(wait, err.wait_seconds)
                if not err.passing or attempt == self.attempts or time.monotonic() + wait > deadline:
                    raise self._final(err, attempt, key) from None
                with waiting():
                    self.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(self, url: str, body: bytes | None, key: str, deadline: float) -> dict[str, Any]:
        method = "POST" if body else "GET"
        question = self._question(url, method)
        request = Request(url, method, _headers(key, body), body, same_host_redirects=MOST_REDIRECTS)
        until = min(deadline, time.monotonic() + self.attempt_seconds)
        try:
            with waiting(), open_stream(request, Bounds(until, self.max_bytes)) as stream:
                if stream.status != OK:
                    raise self._refused(question, stream)
                raw = stream.body()
            # The text of a response may end in a log: a key that it repeats is removed.
            return _parse(raw.replace(key.encode(), b"(secret)") if len(key) >= FEWEST_SECRET else raw)
        except ConnectError as err:
            raise HttpError(f"{question}: request failed, the host cannot be asked: {err}") from None
        except InvalidRequestError as err:
            raise HttpError(f"{question}: request failed: {err}", passing=False) from None
        except TooLongError as err:
            raise HttpError(f"{question}: {err}", passing=False) from None
        except ExchangeError as err:
            raise HttpError(f"{question}: {err}") from None
        except _BadAnswerError as err:
            raise HttpError(f"{question}: {err}", OK, passing=err.passing) from None

    def _refused(self, question: str, stream: Stream) -> HttpError:
        wait = _retry_after(stream.headers.get("retry-after", ""))
        if stream.status in REDIRECTS:
            elsewhere = host_of(stream.headers.get("location", "")) or "nowhere"
            message = f"{question}: HTTP {stream.status} to {elsewhere}: not followed"
            return HttpError(message, stream.status, passing=False)
        try:
            message = _short(b"".join(stream.pieces()).decode("utf-8", "replace"))
        except ExchangeError:
            message = ""
        asks = f"; to be retried after {wait:.0f} s" if wait else ""
        sentence = f"{question}: HTTP {stream.status}{asks}{': ' + message if message else ''}"
        return HttpError(sentence, stream.status, passing=stream.status in _PASSING, wait=wait)

    def _final(self, err: HttpError, attempt: int, key: str) -> HttpError:
        sentence = str(err).replace(key, "(secret)") if len(key) >= FEWEST_SECRET else str(err)
        head = self.source, "" if attempt == 1 else f" ({attempt} attempts)"
        return HttpError(f"{head[0]}: {_short(sentence)}{head[1]}", err.status, passing=err.passing)

    @staticmethod
    def _question(url: str, method: str) -> str:
        return f"{method} {place_of(url)}"

    def _key(self) -> str:
        if not self.key_file:
            return ""
        try:
            key = Path(self.key_file).read_text(encoding="ascii").strip()
        except OSError as err:
            raise PriceSourceError(
                f"{self.source}: {self.key_file}: cannot be read: {err.strerror or type(err).__name__}"
            ) from None
        except UnicodeDecodeError:
            raise PriceSourceError(f"{self.source}: {self.key_file}: is not ASCII text") from None
        if not key or not key.isprintable() or " " in key:
            raise PriceSourceError(f"{self.source}: {self.key_file}: must hold one API key and nothing else")
        return key


class _BadAnswerError(Exception):
    """The response is unusable; the text contains why. ``passing``: it was cut off, so another may be complete."""

    def __init__(self, sentence: str, *, passing: bool = False) -> None:
        super().__init__(sentence)
        self.passing = passing


def _headers(key: str, body: bytes | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": f"epochcost/{__version__}"}
    if body:
        headers["Content-Type"] = "application/json"
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        value = loads(raw.decode(json.detect_encoding(raw)))
    except (ValueError, RecursionError) as err:
        sentence = f"the response is not JSON: {type(err).__name__}: {_short(str(err))}"
        raise _BadAnswerError(sentence, passing=_broke_off(err)) from None
    if not isinstance(value, dict):
        raise _BadAnswerError(f"the response has no JSON object but a {type(value).__name__}")
    return value


def _broke_off(err: Exception) -> bool:
    """Whether it began as JSON and only its end is missing: a response without a length may have been cut off."""
    if not isinstance(err, json.JSONDecodeError) or not err.doc.lstrip().startswith(("{", "[")):
        return False
    return err.pos >= len(err.doc.rstrip()) or err.msg.startswith("Unterminated")


def _retry_after(text: str) -> float:
    """Seconds, from a number of seconds or a date; 0 if it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    zoned = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(0.0, (zoned - datetime.now(timezone.utc)).total_seconds())


def _short(text: str) -> str:
    return one_line(text, _MOST_CHARACTERS + 3)
