"""Settings of ``epochcost report`` and ``epochcost compare``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from epochcost.settings import choice, number, option, optional, positive
from epochcost.store.store_settings import StoreSettings

FORMATS = ("table", "csv", "json", "markdown", "html")


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as err:
        raise ValueError(f"expected a regular expression: {err}") from None
    return text


@dataclass(frozen=True, slots=True)
class PrometheusSettings(StoreSettings):
    """Where the figures are stored, how to get in, and which of them."""

    matchers: str = option("match", "", 'PromQL matchers that agents\' series must fit: cluster="eu",team!="web"')
    experiment: str = option(
        "experiment", "", "only experiments that fit this regular expression, from end to end", parse=pattern
    )
    run: str = option("runs", "", "only runs that fit this regular expression, from end to end", parse=pattern)
    begin: str = option(
        "from", "7d", "where the span begins: an age (7d, 12h) or a time (2026-05-01T00:00:00Z, Unix seconds)"
    )
    end: str = option("to", "now", "where it ends: now, an age or a time")
    keep_labels: str = option(
        "keep-labels",
        "cluster",
        "labels that your scrapes add and that tell machines and runs of one name apart, as the rules keep them",
    )


@dataclass(frozen=True, slots=True)
class ReportSettings(PrometheusSettings):
    """Settings of ``epochcost report``."""

    format: str = option("format", "table", f"one of {', '.join(FORMATS)}", parse=choice(*FORMATS))
    output: str = option("output", "", "file to write; standard output if not given")


@dataclass(frozen=True, slots=True)
class CompareSettings(PrometheusSettings):
    """Settings of ``epochcost compare rent own``. None: taken from what was measured."""

    hours: float | None = option(
        "hours", None, "hours of training in the life of the machine; measured if not given", parse=optional(positive)
    )
    own_hours: float | None = option(
        "own-hours",
        None,
        "hours that the same training takes on the owned machine; as many as on the rented one if not given",
        parse=optional(positive),
    )
    rent_usd_per_hour: float | None = option(
        "rent-usd-per-hour",
        None,
        "what an hour of the rented machine costs; measured if not given",
        parse=optional(positive),
    )
    rent_extra_usd: float = option("rent-extra-usd", 0.0, "storage, traffic and taxes of renting", parse=number)
    price_usd: float | None = option("price-usd", None, "what the owned machine costs", parse=optional(positive))
    residual_usd: float = option("residual-usd", 0.0, "what it will be worth at the end", parse=number)
    years: float = option("years", 2.0, "its life in years of 8766 h", parse=positive)
    watts: float | None = option(
        "watts", None, "what it draws while it trains; measured if not given", parse=optional(number)
    )
    pue: float = option("pue", 1.0, "all power drawn per power drawn by machines", parse=positive)
    overhead_usd_per_hour: float = option(
        "overhead-usd-per-hour", 0.0, "what an hour of owning costs besides: room, network, staff", parse=number
    )
    tariff: float = option("tariff", 0.0, "dollars per kWh of electricity", parse=number)
    format: str = option("format", "table", "table or json", parse=choice("table", "json"))
