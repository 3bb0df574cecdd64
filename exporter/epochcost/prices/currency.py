"""US dollars from other currencies, by configured rates: none is ever guessed or fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping

USD = "USD"
Rates = Mapping[str, float]
"""US dollars for one unit of a currency, by its code."""
NO_RATES: Rates = {}
_AWS_REGIONS = (("cn-", "CNY"), ("eusc-", "EUR"))
"""AWS partitions that do not sell in dollars: China, and the European Sovereign Cloud."""


class NoRateError(ValueError):
    """An amount is in a currency without a configured rate; the text contains which, and how to configure it."""


def usd(amount: float, currency: str, rates: Rates) -> float:
    """``amount`` in US dollars.

    Raises:
        NoRateError: where ``currency`` has no rate.
    """
    if currency == USD:
        return amount
    if currency not in rates:
        code = currency if re.fullmatch("[A-Z]{3}", currency) else "XXX"
        raise NoRateError(
            f"is in {currency!r:.20}, which has no rate: set --prices.currencies {code}=(US dollars for 1)"
        )
    return amount * rates[currency]


def of_aws_region(region: str) -> str:
    """The currency in which AWS sells in ``region``, for responses that name none."""
    return next((currency for prefix, currency in _AWS_REGIONS if region.startswith(prefix)), USD)


def parse_currencies(text: str) -> tuple[tuple[str, float], ...]:
    """``EUR=1.08,CNY=0.14``.

    Raises:
        ValueError: naming what is wrong and what is allowed.
    """
    rates: dict[str, float] = {}
    for word in filter(None, map(str.strip, text.split(","))):
        match = re.fullmatch(r"([A-Z]{3})=([0-9]*\.?[0-9]+)", word)
        if not match or float(match[2]) == 0:
            raise ValueError(f"{word!r} must be a currency and US dollars for one unit of it, EUR=1.08")
        rates[match[1]] = float(match[2])
    return tuple(rates.items())
