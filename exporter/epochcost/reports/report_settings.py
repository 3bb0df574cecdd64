"""Settings of ``epochcost report`` and ``epochcost compare``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from epochcost.reports.trials import Metric, metrics
from epochcost.settings import choice, number, option, optional, positive
from epochcost.store.store_settings import StoreSettings

BY = ("team", "owner", "namespace", "account", "experiment", "purchase-option")
FORMATS = ("table", "csv", "json", "markdown", "html")


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as err:
        raise ValueError(f"expected a regular expression: {err}") from None
    return text


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("expected a whole number from 0 on")
    return int(text)


def by(text: str) -> str:
    """What a bill can be split by; nothing for no split."""
    return choice(*BY)(text) if text else ""


@dataclass(frozen=True, slots=True)
class PrometheusSettings(StoreSettings):
    """Where the figures are stored, how to get in, and which of them."""

    prometheus_url: str = option(
        "prometheus.url",
        "",
        "Prometheus, VictoriaMetrics, Thanos or Mimir, with its path prefix: http://127.0.0.1:9090; several, "
        "separated by commas, are read as one (replicas, or a Prometheus in each cluster)",
    )

    matchers: str = option("match", "", 'PromQL matchers for the agents\' series: cluster="eu",team!="web"')
    experiment: str = option(
        "experiment", "", "only experiments that fully match this regular expression", parse=pattern
    )
    run: str = option("runs", "", "only runs whose id fully matches this regular expression", parse=pattern)
    most_runs: int = option(
        "most-runs",
        10_000,
        "maximum number of runs to read, most expensive first; omitted runs are reported in one line. 0: all",
        parse=count,
    )
    begin: str = option(
        "from", "7d", "start of the period: an age (7d, 12h) or a time (2026-05-01T00:00:00Z, Unix seconds)"
    )
    end: str = option("to", "now", "end of the period: now, an age or a time")
    keep_labels: str = option(
        "keep-labels",
        "cluster",
        "labels added by your scrape configuration that distinguish machines and runs of the same name; same as in the "
        "rules",
    )


@dataclass(frozen=True, slots=True)
class ReportSettings(PrometheusSettings):
    """Settings of ``epochcost report``."""

    format: str = option("format", "table", f"output format: {', '.join(FORMATS)}", parse=choice(*FORMATS))
    metric: tuple[Metric, ...] = option(
        "metric",
        (),
        "metric by which to compare the runs of an experiment, such as val_loss, or reward:higher if the name does not "
        "imply which is better; of a comma-separated list, the first that an experiment reports. Default: evaluation "
        "metrics whose name implies it",
        parse=metrics,
    )
    by: str = option("by", "", f"also split the cost by one of {', '.join(BY)}", parse=by)
    output: str = option("output", "", "output file; standard output if not given")


@dataclass(frozen=True, slots=True)
class CompareSettings(PrometheusSettings):
    """Settings of ``epochcost compare rent own``. None: taken from what was measured."""

    instance_type: str = option(
        "instance-type",
        "",
        "rented machine type to compare with (TYPE or PROVIDER/TYPE); required if several were measured",
    )
    hours: float | None = option(
        "hours", None, "training hours over the machine's life; measured if not given", parse=optional(positive)
    )
    own_hours: float | None = option(
        "own-hours",
        None,
        "hours the same training takes on the owned machine; if not given, same as on the rented one",
        parse=optional(positive),
    )
    rent_usd_per_hour: float | None = option(
        "rent-usd-per-hour",
        None,
        "hourly price of the rented machine, in US dollars; measured if not given",
        parse=optional(positive),
    )
    rent_extra_usd: float = option(
        "rent-extra-usd", 0.0, "additional cost of renting (storage, traffic, taxes), in US dollars", parse=number
    )
    price_usd: float | None = option(
        "price-usd", None, "purchase price of the owned machine, in US dollars", parse=optional(positive)
    )
    residual_usd: float = option(
        "residual-usd", 0.0, "residual value at the end of its life, in US dollars", parse=number
    )
    years: float = option("years", 2.0, "life of the machine, in years of 8766 h", parse=positive)
    watts: float | None = option(
        "watts", None, "power draw while training, in watts; measured if not given", parse=optional(number)
    )
    pue: float = option("pue", 1.0, "power usage effectiveness: total facility power / IT power", parse=positive)
    overhead_usd_per_hour: float = option(
        "overhead-usd-per-hour", 0.0, "other hourly cost of owning (space, network, staff), in US dollars", parse=number
    )
    tariff: float = option("tariff", 0.0, "price of electricity, in US dollars per kWh", parse=number)
    format: str = option("format", "table", "table or json", parse=choice("table", "json"))
