"""``GET /v1/price``: what one machine costs, with its history. If that is not known, no other price is used instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from epochcost.model import Price, PriceKey, PurchaseOption
from epochcost.poller.schedule import Lookup
from epochcost.prices.adjust import Adjustments
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.extras import Extra, with_extras
from epochcost.prices.merged_prices import MergedPrices, usd_per_hour_at
from epochcost.prices.price_source import Want
from epochcost.serve import Request, Response, Route, json_response

VERSION = 1
MOST_OTHERS = 5
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/ -]{0,127}")
_VALUE_ALLOWED = "1 to 128 letters, digits, blanks and ._+:/-, first a letter or digit"
_ACCOUNT = "account"
_PARAMETERS = ("provider", "region", "zone", "instance_type", "purchase_option", "reservation")
PRICE_PARAMETERS = (*_PARAMETERS, _ACCOUNT)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is paid: what runs beside machines (the charged extras are part of a price), and whose rates there are."""

    extras: tuple[Extra, ...] = ()
    adjustments: Adjustments = Adjustments()  # noqa: RUF009 - a frozen value
    limits: tuple[Limit, ...] = ()
    credits: Callable[[], Iterable[Credit]] = tuple
    """What accounts have left now."""

    def free(self, key: PriceKey) -> bool:
        """Whether machines like ``key`` have free hours."""
        return any(limit.free_seconds is not None and limit.where.matches(key) for limit in self.limits)


class BadParameterError(ValueError):
    """A parameter is wrong; the text names it, its value and what is allowed."""


def price_route(
    merged: Callable[[], MergedPrices],
    ask: Callable[[Want], Lookup],
    clock: Callable[[], float],
    terms: Terms = Terms(),
    poller: str = "",
) -> Route:
    """The route.

    Args:
        merged: returns the current prices.
        ask: makes sources look for a type and returns the result.
        clock: seconds since the Unix epoch.
        terms: what is paid beside and beyond what is published.
        poller: id of this poller, by which clients distinguish it from another one behind the same name.
    """

    def price(request: Request) -> Response:
        """The price of one machine, for agents: JSON with the price, its history and when it was confirmed.

        400 for an invalid parameter; 404 if the price is not known, with ``pending`` while a request to a source is
        outstanding.
        """
        try:
            key, account = parse_key(request.query), _value(request.query, _ACCOUNT)
        except BadParameterError as err:
            return json_response(400, {"error": str(err)})
        lookup, now, prices = _ask(ask, key), clock(), merged()
        price = prices.find(key)
        pending = _is_pending(price, lookup, prices)
        if price is None and not pending and terms.free(key):
            return json_response(200, _free_answer(key, now, terms, poller))
        if price is None or pending or usd_per_hour_at(price, now) is None:
            return json_response(404, _unknown(key, price, lookup, prices, pending=pending))
        mine, *others = (_paid(each, prices, terms, account, now) for each in (price, *_compared(prices, key)))
        if mine is None:
            return json_response(404, {"error": f"what {account!r} pays would be nothing or less", "pending": False})
        return json_response(200, _answer(mine, others, now, terms, poller))

    return price


def _is_pending(price: Price | None, lookup: Lookup, prices: MergedPrices) -> bool:
    """Whether a better price may come: one of a lower-ranking source would soon be replaced, and charged meanwhile."""
    return any(prices.outranks(name, price.source) for name in lookup.pending) if price else bool(lookup.pending)


def _compared(prices: MergedPrices, key: PriceKey) -> Iterator[Price | None]:
    """The prices of the same machine on demand and as spot."""
    return (prices.find(_as(key, option)) for option in (PurchaseOption.ON_DEMAND, PurchaseOption.SPOT))


def parse_key(query: Mapping[str, tuple[str, ...]]) -> PriceKey:
    """The requested price.

    Raises:
        BadParameterError: naming the parameter.
    """
    values = {name: _value(query, name) for name in _PARAMETERS}
    try:
        option = PurchaseOption(values["purchase_option"])
    except ValueError:
        allowed = ", ".join(each.value for each in PurchaseOption)
        texts = values["purchase_option"]
        raise BadParameterError(f"purchase_option: {texts!r} is not known; allowed: {allowed}") from None
    needed = ["instance_type"] if option is PurchaseOption.OWNED else ["provider", "instance_type"]
    for name in needed:
        if not values[name]:
            raise BadParameterError(f"{name}: must be given for a price that is {option.value}")
    place = values["provider"].lower(), values["region"], values["zone"], values["instance_type"]
    return PriceKey(*place, option, values["reservation"] if option is PurchaseOption.RESERVED else "")


def _value(query: Mapping[str, tuple[str, ...]], name: str) -> str:
    texts = query.get(name, ())
    if len(texts) > 1:
        raise BadParameterError(f"{name}: given {len(texts)} times; allowed: once")
    value = texts[0] if texts else ""
    if value and not _VALUE.fullmatch(value):
        raise BadParameterError(f"{name}: {value[:140]!r} is not valid; allowed: {_VALUE_ALLOWED}")
    return value


def _ask(ask: Callable[[Want], Lookup], key: PriceKey) -> Lookup:
    if key.purchase_option is PurchaseOption.OWNED:
        return Lookup(
            (), ("no owned machine of that name is configured (--owned.instance-type, or owned: in --config.file)",)
        )
    if not key.region:
        return Lookup((), ("a region is required to query a provider",))
    return ask(Want(key.provider, key.region, key.instance_type))


def _unknown(
    key: PriceKey, price: Price | None, lookup: Lookup, prices: MergedPrices, *, pending: bool
) -> dict[str, object]:
    elsewhere = () if price is not None else prices.elsewhere(key)
    place = key.zone or key.region
    what = f"no {key.purchase_option.value} price is known for {key.instance_type!r}"
    where = "" if key.purchase_option is PurchaseOption.OWNED else f" of {key.provider!r} in {place!r}"
    late = " and the listed price starts only later" if price is not None and not pending else ""
    others = [
        f"{each.zone or each.region}{f' in {each.reservation}' if each.reservation else ''}" for each in elsewhere
    ]
    known = f"; there is one for {', '.join(dict.fromkeys(others[:MOST_OTHERS]))} only" if others else ""
    return {"error": f"{what}{where}{late}: {'; '.join(lookup.tried)}{known}", "pending": pending}


@dataclass(frozen=True, slots=True)
class _Paid:
    """A price for a client, with what runs beside the machine, and its current components."""

    price: Price
    parts: Mapping[str, float]


def _paid(price: Price | None, known: MergedPrices, terms: Terms, account: str, now: float) -> _Paid | None:
    published = known.published(price) if price is not None else None
    if price is None or published is None:
        return None if price is None else _Paid(with_extras(price, terms.extras), {})
    ours = terms.adjustments.paid(published, account) if account else price
    if ours is None:
        return None
    parts = dict(terms.adjustments.parts(published, now, account))
    return _Paid(with_extras(ours, terms.extras), parts if len(parts) > 1 else {})


def _as(key: PriceKey, option: PurchaseOption) -> PriceKey:
    return replace(key, purchase_option=option, reservation="")


def _answer(paid: _Paid, others: Sequence[_Paid | None], now: float, terms: Terms, poller: str) -> dict[str, object]:
    """The price of ``paid``, and what it would cost on demand and as spot (``others``)."""
    price = paid.price
    on_demand, spot = (None if each is None else usd_per_hour_at(each.price, now) for each in others)
    return {
        **_head(price.key, now, poller),
        "source": price.source,
        "fetched_ts": price.fetched_ts,
        "usd_per_hour": usd_per_hour_at(price, now),
        "steps": [
            {"ts": None if step.ts == -math.inf else step.ts, "usd_per_hour": step.usd_per_hour} for step in price.steps
        ],
        "on_demand_usd_per_hour": on_demand,
        "spot_usd_per_hour": spot,
        "parts": [{"name": name, "usd_per_hour": usd} for name, usd in paid.parts.items()],
        **_beside(price.key, terms, now),
    }


def _free_answer(key: PriceKey, now: float, terms: Terms, poller: str) -> dict[str, object]:
    """For a machine with free hours and no known price outside of them: no steps, and what the hours are."""
    return {
        **_head(key, now, poller),
        "source": "free",
        "fetched_ts": now,
        "usd_per_hour": None,
        "steps": [],
        "on_demand_usd_per_hour": None,
        "parts": [],
        **_beside(key, terms, now),
    }


def _head(key: PriceKey, now: float, poller: str) -> dict[str, object]:
    return {
        "v": VERSION,
        "now": now,
        "poller": poller,
        "provider": key.provider,
        "region": key.region,
        "zone": key.zone,
        "instance_type": key.instance_type,
        "purchase_option": key.purchase_option.value,
        "reservation": key.reservation,
    }


def _beside(key: PriceKey, terms: Terms, now: float) -> dict[str, object]:
    return {
        "extras": [_extra(extra, now) for extra in terms.extras if extra.where.matches(key)],
        "limits": [_limit(limit) for limit in terms.limits if limit.where.matches(key)],
        "credits": [_credit(credit) for credit in terms.credits() if credit.provider == key.provider],
    }


def _extra(extra: Extra, now: float) -> dict[str, object]:
    return {
        "name": extra.name,
        "usd_per_hour": extra.usd_per_hour,
        "charged": extra.charged,
        "unit": extra.unit,
        "usd_per_unit": extra.usd_per_unit,
        "quantity": extra.quantity,
        "now": extra.since_ts <= now < extra.until_ts,
    }


def _limit(limit: Limit) -> dict[str, object]:
    return {
        "name": limit.name,
        "session_seconds": limit.session_seconds,
        "free_seconds": limit.free_seconds,
        "period": limit.period,
        "since_ts": limit.since_ts,
    }


def _credit(credit: Credit) -> dict[str, object]:
    return {
        "name": credit.name,
        "usd": credit.usd,
        "as_of_ts": credit.as_of_ts,
        "spend_usd_per_hour": credit.spend_usd_per_hour,
        "until_ts": None if math.isinf(credit.until_ts) else credit.until_ts,
    }
