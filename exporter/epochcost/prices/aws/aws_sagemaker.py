"""SageMaker training prices from the AWS Price List API: the ``ml.`` types, which cost more than EC2's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws.aws_client import AwsCallError, AwsClients
from epochcost.prices.aws.aws_on_demand import PROVIDER, Row, hourly_rows, one_price, pricing_region
from epochcost.prices.currency import Rates
from epochcost.prices.json_fields import unknown_values
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "aws_sagemaker"
PREFIX = "ml."
TRAINING = "Training"
_KNOWN_TRAINING = frozenset({TRAINING, "ReservedTraining"})
"""Components that are about training: another one is a new kind of training price."""


@dataclass(frozen=True, slots=True)
class AwsSageMaker:
    """On-demand training prices of the wanted ``ml.`` types by region; it sends no request if none is wanted."""

    watched: frozenset[Want]
    refresh_seconds: float
    rates: Rates = field(default_factory=dict)
    name: str = NAME
    provider: str = PROVIDER
    clients: AwsClients = field(default_factory=lambda: AwsClients(NAME))

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """One GetProducts a type and region."""
        types = sorted(want for want in requests.items if want.instance_type.startswith(PREFIX))
        if not types:
            return Catalogue()
        self.clients.connect()
        prices: list[Price] = []
        problems: list[str] = []
        requested: set[Want] = set()
        reasons: dict[str, str] = {}
        components: set[str] = set()
        notes: list[str] = []
        for want in types:
            try:
                rows = self._rows(want, notes)
                requested.add(want)
                prices += self._price(want, rows, now)
                reasons[want.instance_type] = _why(rows)
                components |= {row.attributes.get("component", "") for row in rows}
            except PriceSourceError as err:  # noqa: PERF203 - one type leaves the others alone
                problems.append(str(err))
                if isinstance(err, AwsCallError) and err.hopeless:
                    break
        if problems:
            self.clients.forget()
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(
            tuple(prices),
            problems=tuple(problems),
            requested=frozenset(requested),
            reasons={name: why for name, why in reasons.items() if why},
            notes=tuple(notes),
            unknown=unknown_values((each for each in components if "train" in each.lower()), _KNOWN_TRAINING),
        )

    def _rows(self, want: Want, notes: list[str]) -> list[Row]:
        """Of all components: training, hosting, notebooks, clusters, ... have a row and a price each."""
        requested = f"{want.instance_type} in {want.region}"
        attributes = {"regionCode": want.region, "instanceName": want.instance_type}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
        pages = self.clients.pages(
            "pricing",
            pricing_region(want.region),
            "get_products",
            requested,
            ServiceCode="AmazonSageMaker",
            Filters=filters,
        )
        return [row for row in hourly_rows(pages, requested, notes, NAME) if row.has(attributes)]

    def _price(self, want: Want, rows: list[Row], now: float) -> list[Price]:
        try:
            usd = one_price([row for row in rows if row.has({"component": TRAINING})], self.rates)
        except ValueError as err:
            requested = f"{want.instance_type} in {want.region}"
            raise PriceSourceError(f"{NAME}: get_products for {requested}: {err}: no price taken") from None
        key = PriceKey(PROVIDER, want.region, "", want.instance_type, PurchaseOption.ON_DEMAND)
        return [Price(key, (PriceStep(-math.inf, each),), NAME, now) for each in usd]


def _why(rows: list[Row]) -> str:
    """Why a type has no training price, where it is sold for something else; empty if it is not sold at all."""
    components = sorted({row.attributes.get("component", "") for row in rows} - {"", TRAINING})
    return (
        f"SageMaker sells it there for {', '.join(components)[:160]} only, not for training jobs" if components else ""
    )
