"""What an hour costs: the sources of prices, and the store of the last good ones.

`SOURCES` is the register: a name for ``--prices.sources`` and what makes its sources from the poller's settings (or
raises `NotConfiguredError`, whose text says what it would need). One file and one line make a new source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from epochcost.prices import aws, listed, owned
from epochcost.prices.source import Source

SOURCES: Mapping[str, Callable[[Any], tuple[Source, ...]]] = {
    "owned": owned.make,
    "listed": listed.make,
    "aws": aws.make,
}
