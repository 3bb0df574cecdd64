"""What an hour of an owned machine costs: its price spread over its life, overhead and electricity."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.owned.owned_power import DEFAULT_METRIC, PowerMeter
from epochcost.prices.owned.tariff import Tariff, parse_tariff
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError, Want

NAME = "owned"
HOURS_PER_YEAR = 8766.0
"""365.25 days."""
GIB = 1024**3
REFRESH_SECONDS = 300.0
DAY = 86400.0
BACK_SECONDS = 45 * DAY
"""For how long before now a tariff by hour is laid out; before that its mean over a day holds."""
AHEAD_SECONDS = 2 * DAY
"""How far ahead prices are computed: so that agents stay exact when the poller is down."""
_NEEDED = ("price-usd", "years", "watts", "tariff-usd-per-kwh")
_INSTEAD = {"watts": "watts-url", "tariff-usd-per-kwh": "tariff-by-hour"}
_TEXTS = ("instance_type", "gpu_model", "timezone", "watts_url", "watts_metric")


@dataclass(frozen=True, slots=True)
class OwnedMachine:
    """One kind of owned machine.

    Attributes:
        instance_type: the owner's name for it; nodes of it carry this as their instance type.
        price_usd: what it cost.
        years: depreciation period, in years of 8766 h.
        watts: average power; the configured figure, unless a measured one is passed to `hourly_usd`.
        tariff_usd_per_kwh: of electricity.
        residual_usd: value at the end of the depreciation period.
        pue: power usage effectiveness of the site: total power per power of the machines, 1 at a desk.
        overhead_usd_per_hour: rent, network, staff.
        tariff: of electricity by hour of the day, instead of ``tariff_usd_per_kwh``.
        watts_url, watts_metric: where to read the power of such machines, instead of ``watts``.
        gpu_model, gpus, gpu_memory_gib, vcpus, memory_gib: its hardware, as far as configured (memory of one GPU).

    Raises:
        ValueError: naming the key, its value and what is allowed.
    """

    instance_type: str
    price_usd: float
    years: float
    watts: float
    tariff_usd_per_kwh: float
    residual_usd: float = 0.0
    pue: float = 1.0
    overhead_usd_per_hour: float = 0.0
    gpu_model: str = ""
    gpus: float | None = None
    gpu_memory_gib: float | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    tariff: Tariff | None = None
    watts_url: str = ""
    watts_metric: str = DEFAULT_METRIC

    def __post_init__(self) -> None:
        if not self.instance_type:
            raise ValueError("instance-type must not be empty")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in (*_TEXTS, "tariff") and value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{_key(each.name)}: {value!r} must be a finite number of 0 or more")
        if self.years == 0:
            raise ValueError("years: 0 must be above 0")
        if self.pue < 1:
            raise ValueError(f"pue: {self.pue!r}: PUE must be >= 1 (total facility power / IT power)")
        if self.residual_usd > self.price_usd:
            raise ValueError(f"residual-usd: {self.residual_usd!r} must not be above price-usd, {self.price_usd!r}")
        if self.watts_url and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", self.watts_url):
            raise ValueError(f"watts-url: {self.watts_url!r} must be http://HOST:PORT/metrics or https://...")
        if not self.watts_url:
            for _, usd_per_kwh in self.tariff.bands if self.tariff else ((0, self.tariff_usd_per_kwh),):
                PriceStep(-math.inf, hourly_usd(self, usd_per_kwh=usd_per_kwh))  # refuses one that costs nothing


def hourly_usd(machine: OwnedMachine, measured_watts: float | None = None, usd_per_kwh: float | None = None) -> float:
    """Dollars per hour; what was measured, and the tariff of the hour, take the place of the configured figures."""
    watts = machine.watts if measured_watts is None else measured_watts
    tariff = machine.tariff_usd_per_kwh if usd_per_kwh is None else usd_per_kwh
    capital = (machine.price_usd - machine.residual_usd) / (machine.years * HOURS_PER_YEAR)
    return capital + machine.overhead_usd_per_hour + watts / 1000 * machine.pue * tariff


def parse_machines(raw: object) -> tuple[OwnedMachine, ...]:
    """Machines from the YAML list ``owned:`` (or one mapping), keys written as the flags are.

    Raises:
        ValueError: naming the machine, the key, its value and what is allowed.
    """
    entries = raw if isinstance(raw, list) else [raw]
    machines = tuple(_parse_machine(entry, f"machine {number}") for number, entry in enumerate(entries, start=1))
    require_distinct(machines)
    return machines


def require_distinct(machines: tuple[OwnedMachine, ...]) -> None:
    """Raise ValueError where two machines have one name: which price would be right?"""
    names = [machine.instance_type for machine in machines]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"instance-type {name!r} is given {names.count(name)} times; each needs its own name")


def _parse_machine(entry: object, where: str) -> OwnedMachine:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: {entry!r} must be a mapping with {', '.join(_NEEDED)}")  # noqa: TRY004 - a bad value
    settings = dict(entry)
    allowed = {_key(each.name): each.name for each in fields(OwnedMachine) if each.name != "tariff"}
    for key in settings:
        if key not in (*allowed, "tariff-by-hour", "timezone"):
            raise ValueError(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}, tariff-by-hour, timezone")
    _require(settings, where)
    try:
        bands, zone = settings.pop("tariff-by-hour", None), str(settings.pop("timezone", "UTC"))
        values: dict[str, Any] = {"instance_type": "desktop", "watts": 0.0, "tariff_usd_per_kwh": 0.0}
        values["tariff"] = None if bands is None else parse_tariff(bands, zone)
        for key, value in settings.items():
            values[allowed[key]] = _value(key, value, text=allowed[key] in _TEXTS)
        return OwnedMachine(**values)
    except ValueError as err:
        raise ValueError(f"{where}: {err}") from None


def _require(values: Mapping[str, object], where: str) -> None:
    missing = [key for key in _NEEDED if key not in values and _INSTEAD.get(key) not in values]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} must be given too (0 is allowed for watts and tariff)")
    for key, instead in _INSTEAD.items():
        if key in values and instead in values:
            raise ValueError(f"{where}: {key}: give it or {instead}, not both")


def _value(key: str, value: object, *, text: bool) -> str | float:
    if text:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{key}: {value!r} must be a number")  # noqa: TRY004 - a bad value
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{key}: {value!r} must be a number") from None


def _key(field_name: str) -> str:
    return field_name.replace("_", "-")


class OwnedSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def owned_machines(self) -> tuple[OwnedMachine, ...]:
        """All of them, from flags and file."""
        ...


@dataclass(frozen=True, slots=True)
class Owned:
    """The owner's machines as a price source."""

    machines: tuple[OwnedMachine, ...]
    name: str = NAME
    provider: str = ""
    refresh_seconds: float = REFRESH_SECONDS
    watched: frozenset[Want] = frozenset()
    meter: PowerMeter = field(default_factory=PowerMeter)

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:  # noqa: ARG002 - all it has, whatever is wanted
        """Every machine's price, from as far back as matters, confirmed now; not where its power cannot be read."""
        prices: list[Price] = []
        problems: list[str] = []
        for machine in self.machines:
            try:
                measured = self.meter.watts(machine.watts_url, machine.watts_metric) if machine.watts_url else None
                prices.append(_price(machine, now, measured))
            except PriceSourceError as err:  # noqa: PERF203 - one machine leaves the others alone
                problems.append(str(err))
        if problems and not prices:
            raise PriceSourceError("; ".join(problems))
        facts = tuple(_facts(machine) for machine in self.machines)
        return Catalogue(tuple(prices), facts, tuple(problems), complete=True)


def _price(machine: OwnedMachine, now: float, measured_watts: float | None) -> Price:
    key = PriceKey("owned", "", "", machine.instance_type, PurchaseOption.OWNED)
    tariff = machine.tariff
    if tariff is None:
        return Price(key, (PriceStep(-math.inf, hourly_usd(machine, measured_watts)),), NAME, now)
    bands = [(-math.inf, tariff.mean_usd_per_kwh), *tariff.steps(now - BACK_SECONDS, now + AHEAD_SECONDS)]
    steps = tuple(PriceStep(ts, hourly_usd(machine, measured_watts, usd)) for ts, usd in bands)
    return Price(key, steps, NAME, now)


def _facts(machine: OwnedMachine) -> InstanceFacts:
    return InstanceFacts(
        provider="owned",
        instance_type=machine.instance_type,
        gpu_model=machine.gpu_model,
        gpus=machine.gpus,
        gpu_memory_bytes=None if machine.gpu_memory_gib is None else round(machine.gpu_memory_gib * GIB),
        vcpus=machine.vcpus,
        memory_bytes=None if machine.memory_gib is None else round(machine.memory_gib * GIB),
    )


def make(settings: OwnedSettings) -> tuple[Owned, ...]:
    """The source for the machines in ``settings``.

    Raises:
        NotConfiguredError: when there is none.
    """
    if not settings.owned_machines:
        raise NotConfiguredError(
            "owned: no machine given; set --owned.price-usd, or list machines under owned: in --config.file"
        )
    return (Owned(settings.owned_machines),)
