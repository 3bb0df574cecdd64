"""What an owned machine really draws, read from metrics in the Prometheus text format."""

from __future__ import annotations

import math
import re
import urllib.error
import urllib.request
from http.client import HTTPException, InvalidURL
from urllib.parse import urlsplit

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
    host = urlsplit(url).netloc.rpartition("@")[2]  # never a password
    request = urllib.request.Request(url, headers={"Accept": "text/plain"})  # noqa: S310 - http(s) by settings
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http(s) by settings
            body: bytes = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as err:
        with err:
            raise PriceSourceError(f"owned: measured power from {host}: HTTP {err.code}") from None
    except (InvalidURL, ValueError):  # its text repeats what may be a password
        raise PriceSourceError(f"owned: measured power from {host}: is no URL that can be asked") from None
    except (OSError, HTTPException) as err:
        raise PriceSourceError(f"owned: measured power from {host}: cannot be read: {err}") from None
    if len(body) > MOST_BYTES:
        raise PriceSourceError(f"owned: measured power from {host}: longer than {MOST_BYTES} bytes")
    return body.decode("utf-8", "replace")


def _mean(text: str, metric: str, url: str) -> float:
    samples = re.findall(rf"^{re.escape(metric)}(?:\{{[^\n]*\}})?[ \t]+(\S+)", text, re.MULTILINE)
    try:
        watts = [float(sample) for sample in samples]
    except ValueError:
        watts = [math.nan]
    if not watts or not all(math.isfinite(value) and value > 0 for value in watts):
        host = urlsplit(url).netloc.rpartition("@")[2]
        raise PriceSourceError(f"owned: measured power from {host}: no usable sample of {metric}: {samples[:3]}")
    return sum(watts) / len(watts)
