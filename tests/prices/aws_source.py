"""AWS price sources with the real boto3, and what their tests share."""

from __future__ import annotations

from epochcost.prices.price_source import Catalogue, PriceRequests, Want

NOW = 1_795_000_000.0
DAY = 86400.0


def wanted(*types: str, regions: tuple[str, ...] = ("us-east-1",)) -> PriceRequests:
    return PriceRequests(frozenset(Want("aws", region, name) for region in regions for name in types))


def dollars(catalogue: Catalogue) -> dict[tuple[str, str, str], float]:
    return {(p.key.region, p.key.zone, p.key.instance_type): p.usd_per_hour for p in catalogue.prices}
