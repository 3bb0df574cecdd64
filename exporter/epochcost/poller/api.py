"""``GET /v1/price``: what one machine costs, with its history. Where that is not known, no other price stands in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from epochcost.model import Price, PriceKey, PurchaseOption
from epochcost.poller.schedule import Asked
from epochcost.prices.adjust import Extra, with_extras
from epochcost.prices.merged_prices import MergedPrices, usd_per_hour_at
from epochcost.prices.price_source import Want
from epochcost.serve import Request, Response, Route, json_response

VERSION = 1
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/ -]{0,127}")
_VALUE_ALLOWED = "1 to 128 letters, digits, blanks and ._+:/-, first a letter or digit"
_PARAMETERS = ("provider", "region", "zone", "instance_type", "purchase_option")


class BadParameterError(ValueError):
    """A parameter is wrong; the text names it, its value and what is allowed."""


def price_route(
    book: Callable[[], MergedPrices],
    ask: Callable[[Want], Asked],
    clock: Callable[[], float],
    extras: Sequence[Extra] = (),
) -> Route:
    """The route.

    Args:
        book: gives the prices now.
        ask: makes sources look for a type and says what became of that.
        clock: seconds since the Unix epoch.
        extras: what runs beside machines; the charged ones are part of the answer's prices.
    """

    def price(request: Request) -> Response:
        try:
            key = parse_key(request.query)
        except BadParameterError as err:
            return json_response(400, {"error": str(err)})
        asked = _ask(ask, key)
        now = clock()
        known = book()
        found = known.find(key)
        # A price of a source that ranks below one that has yet to answer would soon be replaced, and charged meanwhile.
        waiting = any(known.outranks(name, found.source) for name in asked.pending) if found else bool(asked.pending)
        if found is None or waiting or usd_per_hour_at(found, now) is None:
            return json_response(404, _unknown(key, found, asked, pending=waiting))
        on_demand = known.find(replace(key, purchase_option=PurchaseOption.ON_DEMAND))
        return json_response(200, _answer(found, on_demand, now, extras))

    return price


def parse_key(query: Mapping[str, tuple[str, ...]]) -> PriceKey:
    """What is asked for.

    Raises:
        BadParameterError: naming the parameter.
    """
    values = {name: _value(query, name) for name in _PARAMETERS}
    try:
        option = PurchaseOption(values["purchase_option"])
    except ValueError:
        allowed = ", ".join(each.value for each in PurchaseOption)
        given = values["purchase_option"]
        raise BadParameterError(f"purchase_option: {given!r} is not known; allowed: {allowed}") from None
    needed = ["instance_type"] if option is PurchaseOption.OWNED else ["provider", "instance_type"]
    for name in needed:
        if not values[name]:
            raise BadParameterError(f"{name}: must be given for a price that is {option.value}")
    return PriceKey(values["provider"].lower(), values["region"], values["zone"], values["instance_type"], option)


def _value(query: Mapping[str, tuple[str, ...]], name: str) -> str:
    given = query.get(name, ())
    if len(given) > 1:
        raise BadParameterError(f"{name}: given {len(given)} times; allowed: once")
    value = given[0] if given else ""
    if value and not _VALUE.fullmatch(value):
        raise BadParameterError(f"{name}: {value[:140]!r} is not valid; allowed: {_VALUE_ALLOWED}")
    return value


def _ask(ask: Callable[[Want], Asked], key: PriceKey) -> Asked:
    if key.purchase_option is PurchaseOption.OWNED:
        return Asked((), ("no owned machine of that name is configured (--owned.instance-type, owned: in the file)",))
    if not key.region:
        return Asked((), ("without a region no provider can be asked",))
    return ask(Want(key.provider, key.region, key.instance_type))


def _unknown(key: PriceKey, found: Price | None, asked: Asked, *, pending: bool) -> dict[str, object]:
    place = key.zone if key.purchase_option is PurchaseOption.SPOT and key.zone else key.region
    what = f"no {key.purchase_option.value} price is known for {key.instance_type!r}"
    where = "" if key.purchase_option is PurchaseOption.OWNED else f" of {key.provider!r} in {place!r}"
    late = " and what is listed starts only later" if found is not None and not pending else ""
    return {"error": f"{what}{where}{late}: {'; '.join(asked.tried)}", "pending": pending}


def _answer(published: Price, on_demand: Price | None, now: float, extras: Sequence[Extra]) -> dict[str, object]:
    key = published.key
    price = with_extras(published, extras)
    return {
        "v": VERSION,
        "provider": key.provider,
        "region": key.region,
        "zone": key.zone,
        "instance_type": key.instance_type,
        "purchase_option": key.purchase_option.value,
        "source": price.source,
        "fetched_ts": price.fetched_ts,
        "now": now,
        "usd_per_hour": usd_per_hour_at(price, now),
        "steps": [
            {"ts": None if step.ts == -math.inf else step.ts, "usd_per_hour": step.usd_per_hour} for step in price.steps
        ],
        "on_demand_usd_per_hour": None if on_demand is None else usd_per_hour_at(with_extras(on_demand, extras), now),
        "extras": [
            {"name": extra.name, "usd_per_hour": extra.usd_per_hour, "charged": extra.charged}
            for extra in extras
            if extra.where.matches(key)
        ],
    }
