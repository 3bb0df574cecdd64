"""What an owned machine really draws, read from metrics in the Prometheus text format."""

from __future__ import annotations

import math
import re

from epochcost.http_client import OK, Bounds, ExchangeError, InvalidRequestError, Request, ask, host_of
from epochcost.prices.one_at_a_time import waiting
from epochcost.prices.price_source import PriceSourceError

DEFAULT_METRIC = "epochcost_node_power_watts"
TIMEOUT_SECONDS = 5.0
MOST_BYTES = 8 * 1024**2
CHANGE_RATIO = 0.05
"""A reading within this share of the one in use changes nothing, or every refresh would be a price step."""


class PowerMeter:
    """Watts by URL and metric, held until they change in earnest."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], float] = {}

    def watts(self, url: str, metric: str) -> float:
        """The mean of all samples of ``metric`` at ``url``.

        Raises:
            PriceSourceError: when it cannot be read, or has no such sample: then the power is not known.
        """
        measured = _mean(_read(url), metric, url)
        used = self._used.get((url, metric))
        if used is None or abs(measured - used) > CHANGE_RATIO * used:
            used = measured
        self._used[url, metric] = used
        return used


def _read(url: str) -> str:
    host = host_of(url)
    try:
        with waiting():
            answer = ask(Request(url, headers={"Accept": "text/plain"}), Bounds.within(TIMEOUT_SECONDS, MOST_BYTES))
    except InvalidRequestError:
        raise PriceSourceError(f"owned: measured power from {host}: invalid URL") from None
    except ExchangeError as err:
        raise PriceSourceError(f"owned: measured power from {host}: cannot be read: {err}") from None
    if answer.status != OK:
        raise PriceSourceError(f"owned: measured power from {host}: HTTP {answer.status}")
    return answer.body.decode("utf-8", "replace")


def _mean(text: str, metric: str, url: str) -> float:
    samples = re.findall(rf"^{re.escape(metric)}(?:\{{[^\n]*\}})?[ \t]+(\S+)", text, re.MULTILINE)
    try:
        watts = [float(sample) for sample in samples]
    except ValueError:
        watts = [math.nan]
    if not watts or not all(math.isfinite(value) and value > 0 for value in watts):
        raise PriceSourceError(
            f"owned: measured power from {host_of(url)}: no usable sample of {metric}: {samples[:3]}"
        )
    return sum(watts) / len(watts)
