"""Rented or owned: which is cheaper for the hours that are needed, and from how many hours on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epochcost.prices.owned.owned_source import HOURS_PER_YEAR, OwnedMachine, hourly_usd
from epochcost.reports.format import figure


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be compared.

    Attributes:
        hours: of training in the life of the owned machine.
        rent_usd_per_hour: of the rented machine.
        rent_extra_usd: of renting, besides the hours: storage, traffic, taxes.
        machine: the owned one; its ``watts`` count only while it trains.
        own_hours: what the same training takes on the owned machine; None: as many.
    """

    hours: float
    rent_usd_per_hour: float
    machine: OwnedMachine
    rent_extra_usd: float = 0.0
    own_hours: float | None = None

    @property
    def slowness(self) -> float:
        """Hours on the owned machine for an hour on the rented one."""
        return 1.0 if self.own_hours is None else self.own_hours / self.hours


@dataclass(frozen=True, slots=True)
class Answer:
    """Dollars over the life of the machine, and hours; None for hours that are never reached.

    Attributes:
        electricity_usd: for the hours of training.
        owned_usd: purchase less what it will still be worth, electricity and overhead.
        break_even_hours: of renting, from which on owning is cheaper, electricity and overhead counted.
        break_even_hours_without_electricity: the same, with free electricity.
        usd_per_hour: of owning, the price spread over every hour of the machine's life.
        usd_per_hour_used: of owning, spread over the hours of training alone.
        used_ratio: part of the machines' life in which they train.
        machines: how many are needed for the hours; all of them are in ``owned_usd``.
    """

    rent_usd: float
    electricity_usd: float
    owned_usd: float
    break_even_hours: float | None
    break_even_hours_without_electricity: float | None
    usd_per_hour: float
    usd_per_hour_used: float
    used_ratio: float
    machines: int


def answer(question: Question) -> Answer:
    """Both bills."""
    machine, hours = question.machine, question.hours * question.slowness
    kwh_usd = machine.watts / 1000 * machine.pue * machine.tariff_usd_per_kwh
    used = hours / (machine.years * HOURS_PER_YEAR)
    machines = max(1, math.ceil(used))
    capital = machine.price_usd - machine.residual_usd
    owned = machines * capital + hours * (kwh_usd + machine.overhead_usd_per_hour)
    return Answer(
        rent_usd=question.hours * question.rent_usd_per_hour + question.rent_extra_usd,
        electricity_usd=hours * kwh_usd,
        owned_usd=owned,
        break_even_hours=_break_even(question, capital, kwh_usd + machine.overhead_usd_per_hour),
        break_even_hours_without_electricity=_break_even(question, capital, machine.overhead_usd_per_hour),
        usd_per_hour=hourly_usd(machine),
        usd_per_hour_used=owned / hours,
        used_ratio=used / machines,
        machines=machines,
    )


def _break_even(question: Question, capital: float, running_usd_per_hour: float) -> float | None:
    saved = question.rent_usd_per_hour - running_usd_per_hour * question.slowness
    return None if saved <= 0 else max(0.0, capital - question.rent_extra_usd) / saved


def as_text(question: Question, costs: Answer) -> str:
    """The result for the terminal."""
    machine = question.machine
    cheaper = "owning" if costs.owned_usd < costs.rent_usd else "renting"
    saved = abs(costs.owned_usd - costs.rent_usd)
    used = f"which are {100 * costs.used_ratio:.1f} %"
    life = f"if the machine works for all of its {machine.years:g} years"
    lines = [
        f"Rent   ${costs.rent_usd:,.2f}  {_rent_terms(question)}",
        f"Own    ${costs.owned_usd:,.2f}  {_owned_terms(question, costs)}",
        "",
        f"For these hours {cheaper} is cheaper, by ${saved:,.2f}.",
        f"Break-even with electricity: {_hours(costs.break_even_hours)}",
        f"Break-even without it:       {_hours(costs.break_even_hours_without_electricity)}",
        f"An owned hour costs ${figure(costs.usd_per_hour, 5)} {life},",
        f"${figure(costs.usd_per_hour_used, 5)} for these hours, {used} of that time.",
        _assumed(question),
    ]
    if costs.machines > 1:
        lines.append(
            f"These hours need {costs.machines} machines; all are counted. The break-even is that of one machine."
        )
    return "\n".join(lines)


def _assumed(question: Question) -> str:
    if question.own_hours is None:
        return "Assumed: the owned machine takes as many hours as the rented one (otherwise set --own-hours)."
    both = f"{question.own_hours:,.1f} h on the owned machine, {question.hours:,.1f} h on the rented one"
    return f"The same training takes {both}; break-even hours are hours of renting."


def _rent_terms(question: Question) -> str:
    extra = f" + ${question.rent_extra_usd:,.2f} for storage, traffic and taxes" if question.rent_extra_usd else ""
    return f"{question.hours:,.1f} h x ${question.rent_usd_per_hour:g}/h{extra}"


def _owned_terms(question: Question, costs: Answer) -> str:
    machine = question.machine
    many = f"{costs.machines} x " if costs.machines > 1 else ""
    residual = f" - ${machine.residual_usd:,.2f}" if machine.residual_usd else ""
    pue = f" x PUE {machine.pue:g}" if machine.pue != 1 else ""
    overhead = machine.overhead_usd_per_hour * question.hours * question.slowness
    return (
        f"{many}${machine.price_usd:,.2f}{residual} + ${costs.electricity_usd:,.2f} electricity "
        f"({machine.watts:,.0f} W{pue} at ${machine.tariff_usd_per_kwh:g}/kWh)"
        + (f" + ${overhead:,.2f} overhead" if overhead else "")
    )


def _hours(hours: float | None) -> str:
    return "never (running it costs more than renting)" if hours is None else f"{hours:,.1f} h"
