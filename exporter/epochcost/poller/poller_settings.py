"""The price poller's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from epochcost.poller.export_filter import ExportFilter, parse_watch
from epochcost.poller.http_settings import INTERVAL, HttpSettings, endpoint, words_like
from epochcost.prices import OPT_IN, SOURCES
from epochcost.prices.adjust import Adjustments, parse_adjustments
from epochcost.prices.allowances import Credit, Limit, parse_credits, parse_limits
from epochcost.prices.currency import parse_currencies
from epochcost.prices.extras import Extra, parse_extras
from epochcost.prices.merged_prices import DEFAULT_MAX_AGE, MaxAge
from epochcost.prices.owned.owned_source import OwnedMachine, parse_machines, require_distinct
from epochcost.prices.store import DEFAULT_PRECEDENCE
from epochcost.settings import (
    SettingsError,
    address,
    between,
    choice,
    http_url,
    number,
    option,
    optional,
    positive,
    structured,
    words,
)

DEFAULT_ADDRESS = ("127.0.0.1", 10836)
AGE = between("1s", "366d")
DEFAULT_SOURCES = tuple(name for name in SOURCES if name not in OPT_IN)


def _sources(text: str) -> tuple[str, ...]:
    names = words(text)
    unknown = [name for name in names if name not in SOURCES]
    if unknown or not names:
        raise ValueError(
            f"{unknown[0]!r} is not a price source; allowed: {', '.join(SOURCES)}" if unknown else "none given"
        )
    return tuple(dict.fromkeys(names))


def _pue(text: str) -> float:
    value = number(text)
    if value < 1:
        raise ValueError("PUE must be >= 1 (total facility power / IT power)")
    return value


def _max_age(text: str) -> MaxAge:
    """``7d,spot=1d``: a duration for all, and others by source or purchase option."""
    seconds, named = DEFAULT_MAX_AGE.seconds, dict(DEFAULT_MAX_AGE.named)
    for word in words(text):
        name, equals, age = word.rpartition("=")
        if equals:
            named[name] = AGE(age)
        else:
            seconds = AGE(age)
    return MaxAge(seconds, tuple(named.items()))


def _series(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text.strip()):
        raise ValueError("expected a whole number of 0 to 9999999")
    return int(text)


@dataclass(frozen=True, slots=True)
class PollerSettings(HttpSettings):
    """What the poller can be told: each a flag, an environment variable and a YAML key of section ``prices``."""

    web_listen_address: tuple[str, int] = option(
        "web.listen-address", DEFAULT_ADDRESS, "HOST:PORT of /metrics and /v1/price", parse=address
    )
    web_config_file: str = option("web.config.file", "", "TLS and basic auth, in the exporter-toolkit format")
    state_dir: str = option(
        "state.dir",
        "",
        "directory for the last good prices; empty: the system's or the user's state directory",
    )
    prices_sources: tuple[str, ...] = option(
        "prices.sources", DEFAULT_SOURCES, f"price sources to use, of {', '.join(SOURCES)}", parse=_sources
    )
    prices_precedence: tuple[str, ...] = option(
        "prices.precedence",
        DEFAULT_PRECEDENCE,
        "precedence of sources that price the same machine, best first; * for those not named",
        parse=words,
    )
    prices_watch: tuple[ExportFilter, ...] = option(
        "prices.watch",
        (),
        "additional prices to export, comma-separated entries of provider= region= instance-type= gpu-model= (globs)",
        parse=parse_watch,
    )
    prices_max_series: int = option(
        "prices.max-series", 5000, "maximum number of price series to export; those in use come first", parse=_series
    )
    prices_max_age: MaxAge = option(  # noqa: RUF009 - a frozen value
        "prices.max-age",
        DEFAULT_MAX_AGE,
        "how long to keep a price that its source no longer returns; NAME=DURATION for a source or purchase option",
        parse=_max_age,
    )
    prices_accept: tuple[str, ...] = option(
        "prices.accept", (), "sources exempt from the plausibility check; * for all", parse=words
    )
    currencies: tuple[tuple[str, float], ...] = option(
        "prices.currencies",
        (),
        "exchange rates, US dollars for one unit of a currency: EUR=1.08,CNY=0.14",
        parse=parse_currencies,
    )
    adjustments: Adjustments = structured(  # noqa: RUF009 - a frozen value
        "adjustments", "discounts, taxes, commitments", parse_adjustments, Adjustments()
    )
    extras: tuple[Extra, ...] = structured(
        "extras", "additional charges per machine: disks, public addresses, licences, traffic", parse_extras, ()
    )
    credits: tuple[Credit, ...] = structured("credits", "prepaid or granted credit", parse_credits, ())
    limits: tuple[Limit, ...] = structured("limits", "session limits and free quotas", parse_limits, ())
    aws_regions: tuple[str, ...] = option(
        "aws.regions", (), "regions to watch", parse=words_like(r"[a-z]{2,4}(-[a-z0-9]+)+", "a region code, us-east-1")
    )
    aws_instance_types: tuple[str, ...] = option(
        "aws.instance-types",
        (),
        "instance types to watch, in addition to those that agents request",
        parse=words_like(r"(ml\.)?[a-z0-9-]+\.[a-z0-9-]+", "an instance type, p4d.24xlarge or ml.p4d.24xlarge"),
    )
    aws_spot_interval: float = option(
        "aws.spot-interval", 300.0, "interval between requests for EC2 spot prices", parse=INTERVAL
    )
    aws_spot_history: float = option(
        "aws.spot-history",
        3 * 86400.0,
        "how much spot price history to request; at most 90d",
        parse=between("1m", "90d"),
    )
    aws_on_demand_interval: float = option(
        "aws.on-demand-interval", 86400.0, "interval between requests for on-demand prices", parse=INTERVAL
    )
    gcp_api_key_file: str = option(
        "gcp.api-key-file", "", "file with a key for the Cloud Billing API; empty: application default credentials"
    )
    gcp_url: str = option(
        "gcp.url", "", "URL of the Cloud Billing API, for a proxy or a mirror; empty: Google's own", parse=http_url
    )
    gcp_regions: tuple[str, ...] = option(
        "gcp.regions", (), "regions to watch", parse=words_like(r"[a-z]+-[a-z]+\d+", "a region, us-central1")
    )
    gcp_machine_types: tuple[str, ...] = option(
        "gcp.machine-types",
        (),
        "machines to watch: a2-highgpu-1g, n1-standard-16+nvidia-tesla-p4:1, v6e-8, vertex/a2-highgpu-1g",
        parse=words_like(r"(vertex/)?[a-z0-9]+(-[a-z0-9]+)+(\+none|\+[a-z0-9-]+:\d+)?", "a machine, a2-highgpu-1g"),
    )
    gcp_interval: float = option("gcp.interval", 86400.0, "interval between reads of the SKU catalogue", parse=INTERVAL)
    aws_price_list_url: str = option(
        "aws.price-list-url",
        "https://pricing.us-east-1.amazonaws.com",
        "base URL of the public price lists that the source aws_bulk reads",
        parse=endpoint,
    )
    owned_instance_type: str = option("owned.instance-type", "desktop", "your name for the owned machine")
    owned_price_usd: float | None = option(
        "owned.price-usd", None, "purchase price of the machine, in US dollars", parse=optional(positive)
    )
    owned_years: float | None = option("owned.years", None, "depreciation period in years", parse=optional(positive))
    owned_residual_usd: float = option(
        "owned.residual-usd", 0.0, "value at the end of the depreciation period, in US dollars", parse=number
    )
    owned_watts: float | None = option("owned.watts", None, "average power draw, in watts", parse=optional(number))
    owned_tariff: float | None = option(
        "owned.tariff-usd-per-kwh", None, "price of electricity, in US dollars per kWh", parse=optional(number)
    )
    owned_pue: float = option(
        "owned.pue", 1.0, "power usage effectiveness (PUE) of its location; 1 for a desktop", parse=_pue
    )
    owned_overhead: float = option(
        "owned.overhead-usd-per-hour", 0.0, "other hourly cost (rent, network, staff), in US dollars", parse=number
    )
    owned: tuple[OwnedMachine, ...] = structured("owned", "list of owned machines", parse_machines, ())
    listed_files: tuple[str, ...] = option(
        "listed.file",
        (),
        "your own price lists, CSV or YAML, comma-separated; later files take precedence",
        parse=words,
    )
    log_level: str = option(
        "log.level",
        "info",
        "log level: debug, info, warning or error",
        parse=choice("debug", "info", "warning", "error"),
    )

    def __post_init__(self) -> None:
        HttpSettings.__post_init__(self)
        if bool(self.aws_regions) != bool(self.aws_instance_types):
            given, missing = ("aws.regions", "aws.instance-types")[:: 1 if self.aws_regions else -1]
            raise SettingsError(f"--{given} needs --{missing} too: the types are watched in those regions")
        if bool(self.gcp_regions) != bool(self.gcp_machine_types):
            given, missing = ("gcp.regions", "gcp.machine-types")[:: 1 if self.gcp_regions else -1]
            raise SettingsError(f"--{given} needs --{missing} too: the machines are watched in those regions")
        try:
            require_distinct(self.owned_machines)
        except ValueError as err:
            raise SettingsError(f"--owned.*: {err}") from None

    @property
    def owned_machines(self) -> tuple[OwnedMachine, ...]:
        """The machines of the file's list and the one of the flags."""
        return (*self.owned, *self._machine_of_flags())

    def _machine_of_flags(self) -> tuple[OwnedMachine, ...]:
        price, years, watts, tariff = self.owned_price_usd, self.owned_years, self.owned_watts, self.owned_tariff
        if price is None and years is None and watts is None and tariff is None:
            return ()
        if price is None or years is None or watts is None or tariff is None:
            needed = {"price-usd": price, "years": years, "watts": watts, "tariff-usd-per-kwh": tariff}
            missing = ", ".join(f"--owned.{name}" for name, value in needed.items() if value is None)
            raise SettingsError(f"{missing} must be given too, to price an owned machine (0 watts is allowed)")
        return (
            OwnedMachine(
                instance_type=self.owned_instance_type,
                price_usd=price,
                years=years,
                watts=watts,
                tariff_usd_per_kwh=tariff,
                residual_usd=self.owned_residual_usd,
                pue=self.owned_pue,
                overhead_usd_per_hour=self.owned_overhead,
            ),
        )
