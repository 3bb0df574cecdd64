"""The price that a person wrote into the agent's settings (``--price.usd-per-hour``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epochcost.model import Node, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.extras import Extra
from epochcost.prices.quote import NodePrice, PriceTerms

SOURCE = "configured"


def configured_price(node: Node, usd_per_hour: float, now: float) -> Price:
    """``usd_per_hour`` for ``node``, valid for all of the past.

    A node whose purchase option is unknown counts as owned without a provider, as on demand with one.

    Raises:
        ValueError: for an impossible price.
    """
    rented = node.provider not in ("", "owned")
    option = node.purchase_option or (PurchaseOption.ON_DEMAND if rented else PurchaseOption.OWNED)
    key = PriceKey(node.provider, node.region, node.zone, node.instance_type, option)
    return Price(key, (PriceStep(-math.inf, usd_per_hour),), SOURCE, now)


@dataclass(frozen=True, slots=True)
class ConfiguredPrice:
    """The node price that is configured, at any time."""

    node: Node
    usd_per_hour: float
    extras: tuple[Extra, ...] = ()
    """What runs beside the machine, and is charged with it."""

    def fetch(self, now: float) -> NodePrice:
        """The configured price, confirmed now."""
        beside = {f"extra {extra.name}": extra.usd_per_hour or 0.0 for extra in self.extras if not extra.counted}
        by_gb = {extra.name: extra.usd_per_unit for extra in self.extras if extra.counted}
        price = configured_price(self.node, self.usd_per_hour + sum(beside.values()), now)
        return NodePrice(price, terms=PriceTerms({SOURCE: self.usd_per_hour, **beside}, usd_per_gb=by_gb))
