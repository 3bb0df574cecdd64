"""A Google Cloud price source at a local catalogue, and shortcuts for its requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.prices.gcp_server import COMPUTE, GcpServer, Row, recorded

from epochcost.model import PurchaseOption
from epochcost.prices.gcp.gcp_client import GcpCatalogue, Patience
from epochcost.prices.gcp.gcp_sources import NAME, GcpPrices
from epochcost.prices.price_source import Catalogue, PriceRequests, Want

NOW = 1_795_000_000.0
DAY = 86400.0
QUICK = Patience(attempt=5.0, page=5.0, service=30.0, first_pause=0.01)
ON_DEMAND, SPOT = PurchaseOption.ON_DEMAND, PurchaseOption.SPOT


@contextmanager
def source(server: GcpServer, patience: Patience = QUICK, api_key_file: str = "") -> Iterator[GcpPrices]:
    """The source with the real client at ``server``."""
    catalogue = GcpCatalogue(NAME, api_key_file, server.client, patience)
    yield GcpPrices(frozenset(), DAY, catalogue)
    catalogue.forget()


@contextmanager
def serving(*more: Row, service: str = COMPUTE, without: str = "\0") -> Iterator[GcpServer]:
    """The recorded catalogue, less the SKUs whose text begins with ``without``, and ``more`` of one service."""
    skus = recorded()
    skus[service] = [*(row for row in skus[service] if not row["description"].startswith(without)), *more]
    server = GcpServer(skus)
    server.start()
    yield server
    server.stop()


def wanted(*types: str, regions: tuple[str, ...] = ("us-central1",)) -> PriceRequests:
    return PriceRequests(frozenset(Want("gcp", region, name) for region in regions for name in types))


def fetch(server: GcpServer, *types: str, regions: tuple[str, ...] = ("us-central1",)) -> Catalogue:
    with source(server) as prices:
        return prices.fetch(wanted(*types, regions=regions), NOW)


def dollars(catalogue: Catalogue, option: PurchaseOption = ON_DEMAND) -> dict[str, float]:
    """Dollars per hour by instance type, in the one requested region."""
    return {p.key.instance_type: p.usd_per_hour for p in catalogue.prices if p.key.purchase_option is option}
