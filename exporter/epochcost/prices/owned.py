"""What an hour of an owned machine costs: its price spread over its life, overhead and electricity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.source import Catalogue, NotConfiguredError, Want, Wanted

NAME = "owned"
HOURS_PER_YEAR = 8766.0
"""365.25 days."""
GIB = 1024**3
REFRESH_SECONDS = 300.0
_NEEDED = ("price-usd", "years", "watts", "tariff-usd-per-kwh")
_TEXTS = ("instance_type", "gpu_model")


@dataclass(frozen=True, slots=True)
class OwnedMachine:
    """One kind of owned machine.

    Attributes:
        instance_type: the owner's name for it; nodes of it carry this as their instance type.
        price_usd: what it cost.
        years: over how many years of 8766 h that is spread.
        watts: drawn on average; the configured figure, until a measured one is given to `hourly_usd`.
        tariff_usd_per_kwh: of electricity.
        residual_usd: what it will still be worth after those years.
        pue: power usage effectiveness of the room: power drawn in all per power drawn by machines, 1 at a desk.
        overhead_usd_per_hour: rent, network, staff.
        gpu_model, gpus, gpu_memory_gib, vcpus, memory_gib: what it holds, where the owner says (memory of one GPU).

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

    def __post_init__(self) -> None:
        if not self.instance_type:
            raise ValueError("instance-type must not be empty")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in _TEXTS and value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{_key(field.name)}: {value!r} must be a finite number of 0 or more")
        if self.years == 0:
            raise ValueError("years: 0 must be above 0")
        if self.pue < 1:
            raise ValueError(f"pue: {self.pue!r} must be 1 or more: all power drawn per power drawn by machines")
        if self.residual_usd > self.price_usd:
            raise ValueError(f"residual-usd: {self.residual_usd!r} must not be above price-usd, {self.price_usd!r}")
        PriceStep(-math.inf, hourly_usd(self))  # refuses a machine that costs nothing


def hourly_usd(machine: OwnedMachine, measured_watts: float | None = None) -> float:
    """Dollars per hour; ``measured_watts`` takes the place of the configured figure where somebody measured."""
    watts = machine.watts if measured_watts is None else measured_watts
    capital = (machine.price_usd - machine.residual_usd) / (machine.years * HOURS_PER_YEAR)
    electricity = watts / 1000 * machine.pue * machine.tariff_usd_per_kwh
    return capital + machine.overhead_usd_per_hour + electricity


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
    allowed = {_key(field.name): field.name for field in fields(OwnedMachine)}
    values: dict[str, Any] = {"instance_type": "desktop"}
    for key, value in entry.items():
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}")
        values[allowed[key]] = _value(key, value, text=allowed[key] in _TEXTS, where=where)
    missing = [key for key in _NEEDED if allowed[key] not in values]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} must be given too (0 is allowed for watts and tariff)")
    try:
        return OwnedMachine(**values)
    except ValueError as err:
        raise ValueError(f"{where}: {err}") from None


def _value(key: str, value: object, *, text: bool, where: str) -> str | float:
    if text:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{where}: {key}: {value!r} must be a number")  # noqa: TRY004 - a bad value
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{where}: {key}: {value!r} must be a number") from None


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

    def fetch(self, wanted: Wanted, now: float) -> Catalogue:  # noqa: ARG002 - all it has, whatever is wanted
        """Every machine's price, from as far back as matters, confirmed now."""
        return Catalogue(
            prices=tuple(_price(machine, now) for machine in self.machines),
            facts=tuple(_facts(machine) for machine in self.machines),
            complete=True,
        )


def _price(machine: OwnedMachine, now: float) -> Price:
    key = PriceKey("owned", "", "", machine.instance_type, PurchaseOption.OWNED)
    return Price(key, (PriceStep(-math.inf, hourly_usd(machine)),), NAME, now)


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
        raise NotConfiguredError("owned: no machine given; set --owned.price-usd or a list owned: in the file")
    return (Owned(settings.owned_machines),)
