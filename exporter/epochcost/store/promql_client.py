"""One request at a time to a store that speaks Prometheus' HTTP API: Prometheus, VictoriaMetrics, Thanos, Mimir.

Responses of a store are not trusted: length, type and shape are checked. Errors never contain a secret.
"""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol
from urllib.parse import urlencode, urlsplit

from epochcost._version import __version__
from epochcost.http_client import (
    OK,
    Answer,
    Bounds,
    ConnectError,
    DeadlineError,
    ExchangeError,
    InvalidRequestError,
    Request,
    TooLongError,
    ask,
    host_of,
    place_of,
)
from epochcost.shown_text import MAX_FIGURE, MAX_NAME, clean_name, is_name, one_line
from epochcost.store.store_error import StoreError

MAX_BYTES = 256 * 2**20
_MOST_CHARACTERS = 300
_TOO_MUCH = (413, 422, 502, 503, 504)
_TOO_MUCH_WORDS = (
    "too many", "exceed", "limit", "timed out", "timeout", "too large", "maximum resolution", "cannot select more",
    "cannot process more",
)  # fmt: skip


class TooMuchError(StoreError):
    """The request is for more than the store or this program accepts at once; a part of it may pass."""


class TooSlowError(TooMuchError):
    """No response in time: the request was too much, or the store hangs."""


@dataclass(frozen=True, slots=True)
class Series:
    """Labels, and (time in s, value) in ascending order of time."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """Labels, and the value at one time in s."""

    labels: Mapping[str, str]
    t: float
    value: float


class Store(Protocol):
    """What a report needs of a store."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    @property
    def warnings(self) -> set[str]:
        """Warnings beside its responses."""
        ...

    def over(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        """The series of a range query.

        Raises:
            TooMuchError: when a smaller request may succeed.
            StoreError: for anything else.
        """
        ...


@dataclass(slots=True)
class Prometheus:
    """The store at ``url``.

    Attributes:
        url: with its path prefix, without ``/api/v1``.
        headers: sent with every request; their values are secrets.
        context: which certificates are trusted.
        timeout_seconds: of one request.
        warnings: what the store sent beside its responses (Thanos and Mimir: part of the store did not respond).
        questions: number of requests that were sent.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    context: ssl.SSLContext | None = None
    timeout_seconds: float = 60.0
    max_bytes: int = MAX_BYTES
    warnings: set[str] = field(default_factory=set)
    questions: int = 0

    def over(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        """The series of a range query; ``nocache`` keeps VictoriaMetrics from moving the grid."""
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_seconds:.3f}"}
        data = self._ask("query_range", {**parameters, "nocache": "1"})
        return [_series(entry, self.url) for entry in data]

    def at(self, query: str) -> list[Sample]:
        """The samples of an instant query, as of now by the store's clock.

        Raises:
            StoreError: when there is no response, or an unusable one.
        """
        data = self._ask("query", {"query": query, "nocache": "1"})
        return [_sample(entry, self._where()) for entry in data]

    def _ask(self, path: str, parameters: Mapping[str, str]) -> list[Any]:
        self.questions += 1
        headers = {
            "User-Agent": f"epochcost/{__version__}",
            "Content-Type": "application/x-www-form-urlencoded",
            **self.headers,
        }
        # No redirect is followed: it would carry the secret elsewhere, and turn a POST into a GET.
        request = Request(f"{self.url}/api/v1/{path}", "POST", headers, urlencode(parameters).encode())
        answer = self._answer(request)
        if answer.status != OK:
            self._refused(answer, parameters["query"])
        return self._result(answer.body, parameters["query"])

    def _answer(self, request: Request) -> Answer:
        try:
            return ask(request, Bounds.within(self.timeout_seconds, self.max_bytes), self.context)
        except DeadlineError:
            raise self._slow() from None
        except TooLongError as err:
            raise TooMuchError(f"{self._where()}: {err}") from None
        except ConnectError as err:
            if err.tls:
                advice = "; see --prometheus.cert-file" if "CERTIFICATE" in err.tls else ""
                raise StoreError(f"{self._where()}: TLS: {err.tls}{advice}") from None
            raise StoreError(f"{self._where()}: request failed: {err}") from None
        except InvalidRequestError as err:
            raise StoreError(f"{self._where()}: request failed: {err}") from None
        except ExchangeError as err:
            raise StoreError(f"{self._where()}: {self._plain(str(err))}") from None

    def _slow(self) -> TooSlowError:
        return TooSlowError(f"{self._where()}: no response within {self.timeout_seconds:g} s (--prometheus.timeout)")

    def _result(self, raw: bytes, query: str) -> list[Any]:
        document = _document(raw)
        if not document:
            raise StoreError(f"{self._where()}: the response is not Prometheus JSON; it begins {_begin(raw)}")
        if document.get("status") != "success":
            raise StoreError(f"{self._where()}: {_short(_error_text(document))}; query: {_short(query)}")
        warnings = document.get("warnings")
        for warning in warnings if isinstance(warnings, list) else ():
            self.warnings.add(_short(str(warning)))
        if document.get("isPartial"):
            self.warnings.add("part of the store did not respond")
        data = document.get("data")
        result = data.get("result") if isinstance(data, dict) else None
        if not isinstance(result, list):
            raise StoreError(f"{self._where()}: the response contains no result; query: {_short(query)}")
        return result

    def _refused(self, answer: Answer, query: str) -> NoReturn:
        raw, status = answer.body, answer.status
        head = f"{self._where()}: HTTP {status}"
        if status in (301, 302, 303, 307, 308):
            elsewhere = _short(host_of(answer.headers.get("location", ""))) or "nowhere"
            raise StoreError(f"{head} to {elsewhere}: not followed; give the final address as --prometheus.url")
        if status in (401, 403):
            authorization = (
                "the credentials were rejected" if "Authorization" in self.headers else "no credentials were sent"
            )
            raise StoreError(f"{head}: {authorization}; see --prometheus.username and --prometheus.bearer-token-file")
        document = _document(raw)
        message = self._plain(_error_text(document) if document else _begin(raw))
        if status in _TOO_MUCH and any(word in message.lower() for word in _TOO_MUCH_WORDS):
            raise TooMuchError(f"{head}: {_short(message)}")
        advice = "; does the URL lack a path prefix (/prometheus)?" if status == 404 else f"; query: {_short(query)}"  # noqa: PLR2004
        raise StoreError(f"{head}: {_short(message)}{advice}")

    def _plain(self, text: str) -> str:
        """A proxy may repeat what it was sent."""
        for value in self.headers.values():
            for secret in (value, value.partition(" ")[2]):
                text = text.replace(secret, "(secret)") if secret else text
        return text

    def _where(self) -> str:
        return f"{urlsplit(self.url).scheme}://{place_of(self.url)}"


def _document(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``; empty if it is none."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _series(entry: Any, url: str) -> Series:  # noqa: ANN401 - parsed JSON
    try:
        return Series(_labels(entry), _points(entry["values"]))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as err:
        raise StoreError(f"{url}: a series of the response cannot be read: {type(err).__name__}") from None


def _sample(entry: Any, where: str) -> Sample:  # noqa: ANN401 - parsed JSON
    try:
        t, value = entry["value"]
        return Sample(_labels(entry), _time(t), _figure(value))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as err:
        raise StoreError(f"{where}: a sample of the response cannot be read: {type(err).__name__}") from None


def _labels(entry: Any) -> dict[str, str]:  # noqa: ANN401 - parsed JSON
    """Names that can be shown: anyone who can write to the store may have put anything into a label."""
    metric: dict[str, str] = entry["metric"]
    texts = [*metric, *metric.values()]
    if (
        all(type(text) is str for text in texts)
        and "".join(texts).isprintable()
        and max(map(len, texts), default=0) <= MAX_NAME
    ):
        return metric
    labels = {str(k): str(v) for k, v in metric.items()}
    if all(map(is_name, labels)) and all(map(is_name, labels.values())):
        return labels
    return {k: clean_name(v) for k, v in labels.items() if is_name(k)}


def _points(values: Any) -> list[tuple[float, float]]:  # noqa: ANN401 - parsed JSON
    """Times and figures; a report reads millions of them, so what is in order is seen to be so by sums."""
    if not values:
        return []
    first, second = zip(*values, strict=True)
    times, figures = [*map(float, first)], [*map(float, second)]
    if not math.isfinite(sum(times)):
        raise ValueError
    if not math.isfinite(sum(figures)) or max(map(abs, figures)) > MAX_FIGURE:
        figures = [*map(_figure, second)]
    return [*zip(times, figures, strict=True)]


def _figure(value: Any) -> float:  # noqa: ANN401 - parsed JSON
    """A figure; what is beyond every figure is none, as a gap is."""
    number = float(value)
    return number if abs(number) <= MAX_FIGURE else math.nan


def _time(value: Any) -> float:  # noqa: ANN401 - parsed JSON
    t = float(value)
    if not math.isfinite(t):
        raise ValueError
    return t


def _error_text(document: Mapping[str, Any]) -> str:
    return f"{document.get('errorType', 'error')}: {document.get('error', 'no reason given')}"


def _begin(raw: bytes) -> str:
    return repr(_short(raw[:60].decode("utf-8", "replace"))) if raw else "with nothing"


def quoted(text: str) -> str:
    """``text`` as a string of PromQL."""
    return json.dumps(text, ensure_ascii=False)


def _short(text: str) -> str:
    """On one line, without its middle if it is long: VictoriaMetrics repeats the request before the reason."""
    plain = one_line(text, max(_MOST_CHARACTERS, len(text)))
    third = _MOST_CHARACTERS // 3
    return plain if len(plain) <= _MOST_CHARACTERS else f"{plain[:third]} ... {plain[-2 * third :]}"
