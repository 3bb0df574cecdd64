"""The agent's request to the price poller: ``GET /v1/price``. Standard library only, for the agent must stay light."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from epochcost.http_client import (
    OK,
    Answer,
    Bounds,
    ConnectError,
    ExchangeError,
    InvalidRequestError,
    Request,
    ask,
    client_tls,
    host_of,
    http_date,
)
from epochcost.model import ClockReading, Node, Price, PriceKey, PriceStep, PurchaseOption, is_number
from epochcost.prices.followed_poller import FollowedPoller
from epochcost.prices.price_source import PriceSourceError
from epochcost.prices.quote import NodePrice
from epochcost.prices.remote_terms import parse_terms
from epochcost.shown_text import is_name, one_line

__all__ = ["NodePrice", "PriceSourceError", "RemotePrice"]

MAX_ANSWER_BYTES = 1024 * 1024
MOST_CHARACTERS = 300
VERSION = 1
MOST_RETRY_AFTER_SECONDS = 60


class LaterError(PriceSourceError):
    """The poller returned no price. ``retry_after_seconds``: its ``Retry-After``, 0 if it sent none."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.retry_after_seconds = wait


@dataclass(frozen=True, slots=True)
class PollerAccess:
    """How a poller is reached.

    Attributes:
        password_file: holds ``user:password`` for the poller's basic auth; read at every request, so it may change.
        ca_file: certificate authority of the poller's TLS; empty for the system's.
        timeout: for the whole request, in seconds.
    """

    password_file: str = ""
    ca_file: str = ""
    timeout: float = 5.0


PLAIN_ACCESS = PollerAccess()


class RemotePrice:
    """Requests the price of ``node`` from a poller.

    Args:
        url: of the poller, ``http://prices:10836``.
        node: as identified; its purchase option decides which price is requested, and no other is ever used.
        access: see `PollerAccess`.
        account: requests the account's own rates, if the poller knows them; empty for the public ones.
    """

    def __init__(self, url: str, node: Node, access: PollerAccess = PLAIN_ACCESS, account: str = "") -> None:
        self._url = url.rstrip("/")
        self._host = host_of(url)
        self._node = node
        self._access = access
        self._account = account
        self._followed = FollowedPoller()

    def fetch(self, now: float) -> NodePrice:  # noqa: ARG002 - the poller's clock dates the prices
        """Send one request.

        Raises:
            PriceSourceError: naming the poller and its response, or what is unknown about the node.
        """
        option = self._node.purchase_option
        if option is None:
            raise PriceSourceError(
                f"price poller {self._host}: not requested: the purchase option of this node is not known; "
                "set --node.purchase-option"
            )
        answer = self._ask(option)
        try:
            raw = json.loads(answer.body)
            quote = _parse(raw, self._node, option)
            poller = _text(raw, "poller") if "poller" in raw else ""
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
            message = f"{type(err).__name__}: {one_line(str(err), MOST_CHARACTERS)}"
            raise PriceSourceError(f"price poller {self._host}: its response is not a price: {message}") from None
        price = quote.price and self._followed.take(poller[:64], quote.price, time.monotonic())
        clock = _clock(answer.headers, raw.get("now"), price.fetched_ts if price else -math.inf)
        return NodePrice(price, quote.on_demand_usd_per_hour, clock, quote.terms)

    def _ask(self, option: PurchaseOption) -> Answer:
        node = self._node
        query = {
            "provider": node.provider,
            "region": node.region,
            "zone": node.zone,
            "instance_type": node.instance_type,
            "purchase_option": option.value,
            **({"reservation": node.reservation} if node.reservation else {}),
            **({"account": self._account} if self._account else {}),
        }
        try:
            headers = {"Accept": "application/json"}
            if self._access.password_file:
                headers["Authorization"] = _basic_auth(Path(self._access.password_file))
            request = Request(f"{self._url}/v1/price?{urlencode(query)}", headers=headers, same_host_redirects=2)
            tls = client_tls(self._access.ca_file) if self._access.ca_file and self._url.startswith("https:") else None
            answer = ask(request, Bounds.within(self._access.timeout, MAX_ANSWER_BYTES), tls)
        except (ConnectError, InvalidRequestError) as err:
            raise PriceSourceError(f"price poller {self._host}: request failed: {err}") from None
        except ExchangeError as err:
            raise PriceSourceError(f"price poller {self._host}: {err}") from None
        except (OSError, ValueError) as err:  # the files of the password and of the authority
            raise PriceSourceError(f"price poller {self._host}: request failed: {type(err).__name__}: {err}") from None
        if answer.status != OK:
            message = f"price poller {self._host}: HTTP {answer.status}: {_sentence(answer)}"
            raise LaterError(message, retry_after_seconds(answer.headers))
        return answer


def retry_after_seconds(headers: Mapping[str, str]) -> float:
    """``Retry-After`` in seconds, bounded; 0 if it is absent, or a date."""
    message = headers.get("retry-after", "").strip()
    return float(min(int(message), MOST_RETRY_AFTER_SECONDS)) if re.fullmatch(r"\d{1,6}", message) else 0.0


def _clock(headers: Mapping[str, str], now: object, fetched_ts: float) -> ClockReading | None:
    """The poller's clock: ``now`` of its response, else the header ``Date``; None without either.

    A price that was fetched in the very second of that date refines it.
    """
    if is_number(now) and now > 0:
        return ClockReading(float(now))
    second = http_date(headers.get("date", ""))
    if second is None:
        return None
    return ClockReading(fetched_ts) if 0 <= fetched_ts - second < 1 else ClockReading(second, exact=False)


def _basic_auth(password_file: Path) -> str:
    user_and_password = password_file.read_text(encoding="utf-8").strip()
    if ":" not in user_and_password:
        raise ValueError(f"{password_file} must hold user:password")
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def _sentence(answer: Answer) -> str:
    """The error message of a poller; other servers' texts are not repeated."""
    try:
        return one_line(str(json.loads(answer.body)["error"]), MOST_CHARACTERS)
    except (ValueError, TypeError, KeyError, RecursionError):
        return "no reason given"


def _parse(raw: Mapping[str, Any], node: Node, option: PurchaseOption) -> NodePrice:
    if raw["v"] != VERSION:
        raise ValueError(f"version {raw['v']!r}, not {VERSION}")
    if (raw["instance_type"], raw["purchase_option"]) != (node.instance_type, option.value):
        raise ValueError(f"it is for {raw['instance_type']!r} {raw['purchase_option']!r}, not for what was requested")
    place = _text(raw, "provider"), _text(raw, "region"), _text(raw, "zone")
    reservation = _text(raw, "reservation") if "reservation" in raw else ""  # older pollers know none
    key = PriceKey(*place, node.instance_type, option, reservation)
    steps = tuple(
        PriceStep(-math.inf if step["ts"] is None else _number(step["ts"]), _number(step["usd_per_hour"]))
        for step in raw["steps"]
    )
    terms = parse_terms(raw, key.provider)
    free = not steps and any(limit.free_seconds is not None for limit in terms.limits)
    price = None if free else Price(key, steps, _text(raw, "source"), _number(raw["fetched_ts"]))
    on_demand = raw["on_demand_usd_per_hour"]
    on_demand = None if on_demand is None else PriceStep(0.0, _number(on_demand)).usd_per_hour
    return NodePrice(price, on_demand, terms=terms)


def _text(raw: Mapping[str, Any], name: str) -> str:
    if not isinstance(raw[name], str):
        raise TypeError(f"{name} must be text, not {raw[name]!r}")
    if not is_name(raw[name]):  # it becomes a label, and a word in the log
        raise ValueError(f"{name} must be printable and short, not {raw[name][:80]!r}")
    return str(raw[name])


def _number(value: object) -> float:
    if not is_number(value):
        raise ValueError(f"{str(value)[:80]} is not a finite number")
    return float(value)
