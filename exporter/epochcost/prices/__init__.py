"""What an hour costs: the sources of prices, and the store of the last good ones.

`SOURCES` is the register: a name for ``--prices.sources``, and the module in here whose ``make(settings)`` makes
its sources from the poller's settings. One file and one line make a new source. Modules are named, not imported,
because an agent imports this package too and must stay light.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epochcost.prices.price_source import Source

SOURCES: Mapping[str, str] = {
    "owned": "epochcost.prices.owned.owned_source",
    "listed": "epochcost.prices.listed",
    "aws": "epochcost.prices.aws.aws_sources",
    "aws_bulk": "epochcost.prices.aws.aws_bulk",
    "gcp": "epochcost.prices.gcp.gcp_sources",
    "azure": "epochcost.prices.azure.azure_source",
    "vast": "epochcost.prices.vast.vast_source",
    "runpod": "epochcost.prices.runpod",
    "lambda": "epochcost.prices.lambda_cloud",
    "digitalocean": "epochcost.prices.digitalocean",
    "oci": "epochcost.prices.oci",
}


OPT_IN = ("aws_bulk",)
"""Used only if they are named: their responses are hundreds of megabytes."""


def make(name: str, settings: object) -> tuple[Source, ...]:
    """The sources registered under ``name``.

    Raises:
        NotConfiguredError: when they have nothing to work with; the text contains what they need.
    """
    from epochcost.prices.price_source import NotConfiguredError

    try:
        made: tuple[Source, ...] = import_module(SOURCES[name]).make(settings)
    except AttributeError as err:
        if err.obj is not settings:
            raise
        raise NotConfiguredError(f"{name}: {type(settings).__name__} has no setting {err.name!r}") from None
    return made
