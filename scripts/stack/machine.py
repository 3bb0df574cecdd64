"""What this machine is, and what it costs where it does not know itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from epochcost.model import Node
from epochcost.nodes import filled, identify
from epochcost.nodes.metadata import detect, metadata_sources

DESKTOP = {
    "EPOCHCOST_NODE_PROVIDER": "owned",
    "EPOCHCOST_NODE_INSTANCE_TYPE": "desktop",
    "EPOCHCOST_NODE_PURCHASE_OPTION": "owned",
    "EPOCHCOST_PRICES_SOURCES": "owned,listed",
    "EPOCHCOST_OWNED_PRICE_USD": "2000",
    "EPOCHCOST_OWNED_YEARS": "2",
    "EPOCHCOST_OWNED_WATTS": "355",
    "EPOCHCOST_OWNED_TARIFF_USD_PER_KWH": "0.12",
}
"""The desktop of the article "Training ML models: AWS vs Desktop?": $2,000 over two years, 355 W at $0.12/kWh."""
SET_BY_USER = ("EPOCHCOST_PRICE_USD_PER_HOUR", "EPOCHCOST_NODE_INSTANCE_TYPE", "EPOCHCOST_OWNED_PRICE_USD")


@dataclass(frozen=True, slots=True)
class Machine:
    """What to tell the user, and the settings for agent and poller as environment variables."""

    sentence: str
    environment: Mapping[str, str]


def look_at_this_machine(environ: Mapping[str, str]) -> Machine:
    """The user's own settings where there are any; else the owned desktop, and it says so."""
    if any(environ.get(name) for name in SET_BY_USER):
        return Machine("Node and price as your EPOCHCOST_ variables say.", {})
    known = identify(Node(""))
    node = filled(known, detect(metadata_sources("auto", known, environ)).identities)
    if node.provider not in ("", "owned") and node.instance_type:
        return Machine(
            f"This is a {node.instance_type} of {node.provider} in {node.region or 'a region that it does not tell'}. "
            "Its price is the built-in list's; for today's, give the poller access to the cloud's (docs/prices.md).",
            {},
        )
    if node.provider in ("", "owned"):
        here = "This machine is not a known cloud instance"
    else:
        here = (
            f"This looks like a machine of {node.provider}, but it does not tell its type: set EPOCHCOST_NODE_REGION, "
            "EPOCHCOST_NODE_INSTANCE_TYPE, EPOCHCOST_NODE_PURCHASE_OPTION, or EPOCHCOST_PRICE_USD_PER_HOUR.\nUntil then"
        )
    sentence = (
        f"{here}: it is priced as an owned desktop of $2,000 over 2 years that draws 355 W at $0.12/kWh, "
        "$0.1567 an hour. Set EPOCHCOST_OWNED_PRICE_USD, _YEARS, _WATTS and _TARIFF_USD_PER_KWH for your own."
    )
    return Machine(sentence, DESKTOP)
