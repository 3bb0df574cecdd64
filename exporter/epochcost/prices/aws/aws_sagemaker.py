"""SageMaker training prices from the AWS Price List API: the ``ml.`` types, which cost more than EC2's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws.aws_client import AwsCallError, AwsClients
from epochcost.prices.aws.aws_on_demand import PRICING_REGION, PROVIDER, hourly_rows
from epochcost.prices.price_source import Catalogue, PriceSourceError, Want, Wanted, summary

NAME = "aws_sagemaker"
PREFIX = "ml."


@dataclass(frozen=True, slots=True)
class AwsSageMaker:
    """On-demand training prices of the wanted ``ml.`` types by region; it asks nothing where none is wanted."""

    watched: frozenset[Want]
    refresh_seconds: float
    name: str = NAME
    provider: str = PROVIDER
    clients: AwsClients = field(default_factory=lambda: AwsClients(NAME))

    def fetch(self, wanted: Wanted, now: float) -> Catalogue:
        """One GetProducts a type and region."""
        types = sorted(want for want in wanted.items if want.instance_type.startswith(PREFIX))
        if not types:
            return Catalogue()
        self.clients.connect()
        prices: list[Price] = []
        problems: list[str] = []
        for want in types:
            try:
                prices += self._price(want, now)
            except PriceSourceError as err:  # noqa: PERF203 - one type leaves the others alone
                problems.append(str(err))
                if isinstance(err, AwsCallError) and err.hopeless:
                    break
        if problems:
            self.clients.forget()
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(tuple(prices), problems=tuple(problems))

    def _price(self, want: Want, now: float) -> list[Price]:
        asked = f"{want.instance_type} in {want.region}"
        # Each component (training, hosting, notebooks, ...) has a row and a price of its own.
        attributes = {"regionCode": want.region, "instanceName": want.instance_type, "component": "Training"}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
        pages = self.clients.pages(
            "pricing", PRICING_REGION, "get_products", asked, ServiceCode="AmazonSageMaker", Filters=filters
        )
        rows = list(hourly_rows(pages, attributes, asked, NAME))
        if len(rows) > 1:
            skus = ", ".join(sorted(f"{sku} ${usd:g}" for _, sku, usd in rows))
            raise PriceSourceError(f"{NAME}: get_products for {asked}: {len(rows)} rows match, not one ({skus})")
        key = PriceKey(PROVIDER, want.region, "", want.instance_type, PurchaseOption.ON_DEMAND)
        return [Price(key, (PriceStep(-math.inf, usd),), NAME, now) for _, _, usd in rows]
