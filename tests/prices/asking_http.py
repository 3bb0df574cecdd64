"""What the tests of sources over plain HTTP have in common: one attempt, no waiting, prices by key."""

from __future__ import annotations

from epochcost.model import PurchaseOption
from epochcost.prices.http_json import JsonApi
from epochcost.prices.price_source import Catalogue, PriceRequests, Want

NOW = 1_795_000_000.0
GIB = 1024**3
ON_DEMAND, SPOT = PurchaseOption.ON_DEMAND, PurchaseOption.SPOT
KEY = "key-of-the-test-0123456789"


def api(source: str, key_file: str = "", attempts: int = 1) -> JsonApi:
    return JsonApi(source, key_file, attempt_seconds=5, attempts=attempts, sleep=lambda _: None)


def wanted(provider: str, *places: tuple[str, str]) -> PriceRequests:
    """Of ``provider``, types in regions."""
    return PriceRequests(frozenset(Want(provider, region, instance_type) for region, instance_type in places))


def dollars(catalogue: Catalogue) -> dict[tuple[str, str, PurchaseOption], float]:
    """Dollars per hour by region, type and purchase option."""
    return {(p.key.region, p.key.instance_type, p.key.purchase_option): p.usd_per_hour for p in catalogue.prices}
