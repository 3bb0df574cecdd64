"""US dollars from other currencies: by a configured rate, or not at all."""

from __future__ import annotations

import pytest

from epochcost.prices.currency import NoRateError, of_aws_region, parse_currencies, usd


def test_dollars_need_no_rate_and_other_currencies_their_own() -> None:
    assert usd(3.0, "USD", {"USD": 9.0}) == 3.0
    assert usd(10.0, "CNY", {"CNY": 0.14}) == pytest.approx(1.4)


@pytest.mark.parametrize("currency", ["CNY", "EUR", "", "usd"])
def test_a_currency_without_a_rate_is_rejected_with_the_setting(currency: str) -> None:
    with pytest.raises(NoRateError, match=r"has no rate: set --prices\.currencies"):
        usd(1.0, currency, {"GBP": 1.3})


@pytest.mark.parametrize(
    ("region", "currency"),
    [
        ("us-east-1", "USD"),
        ("cn-north-1", "CNY"),
        ("cn-northwest-1", "CNY"),
        ("eusc-de-east-1", "EUR"),
        ("ca-west-1", "USD"),
    ],
)
def test_where_aws_does_not_sell_in_dollars(region: str, currency: str) -> None:
    assert of_aws_region(region) == currency


def test_rates_are_written_as_a_list() -> None:
    assert parse_currencies("EUR=1.08, CNY=.14") == (("EUR", 1.08), ("CNY", 0.14))
    for bad in ("EUR", "EUR=0", "eur=1", "EUR=-1", "EUR=1e3"):
        with pytest.raises(ValueError, match="must be a currency"):
            parse_currencies(bad)
