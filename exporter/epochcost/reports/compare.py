"""``epochcost compare rent own``: with configured figures, or with measured ones from the store."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from epochcost.model import PurchaseOption
from epochcost.prices.owned.owned_source import HOURS_PER_YEAR, OwnedMachine
from epochcost.reports.app import INTERRUPTED, Progress, print_text
from epochcost.reports.errors import ReportError
from epochcost.reports.pieces import Piece
from epochcost.reports.rent_own import Question, answer, as_text
from epochcost.reports.report import Report, make
from epochcost.reports.report_settings import CompareSettings
from epochcost.reports.several_stores import connect_all
from epochcost.reports.span import Span, clock, span
from epochcost.settings import SettingsError
from epochcost.store.store_error import StoreError

OWNED = PurchaseOption.OWNED.value
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """What the store knows; None where it does not.

    Attributes:
        hours: node hours of runs, as many as there would be in the life of the owned machine at this pace.
        usd_per_hour: of those node hours, on the mean.
        watts: that the GPUs of a node drew on the mean; the rest of the machine is not in it.
    """

    hours: float | None = None
    usd_per_hour: float | None = None
    watts: float | None = None
    notes: tuple[str, ...] = ()
    simulated: bool = False


def run(settings: CompareSettings, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Compare and print.

    Returns:
        0; 1 when a request to the store failed; `INTERRUPTED`.

    Raises:
        SettingsError: when a figure is neither configured nor measured.
    """
    try:
        measured = _measured(settings, err) if settings.prometheus_url else Measured()
        print_text(_printed(_question(settings, measured), measured, settings.format), out)
    except (ReportError, StoreError) as error:
        err.write(f"epochcost compare: {error}\n")
        return 1
    except KeyboardInterrupt:
        err.write("epochcost compare: interrupted\n")
        return INTERRUPTED
    return 0


def _printed(question: Question, measured: Measured, form: str) -> str:
    result = answer(question)
    if form == "json":
        document = {**dataclasses.asdict(question), **dataclasses.asdict(result)}
        document |= {"notes": list(measured.notes), "simulated": measured.simulated}
        return json.dumps(document, indent=2) + "\n"
    notes = "".join(f"{line}\n" for line in measured.notes)
    return (f"{notes}\n" if notes else "") + f"{as_text(question, result)}\n"


def _question(settings: CompareSettings, measured: Measured) -> Question:
    machine = _refused_kindly(
        lambda: OwnedMachine(
            instance_type="owned",
            price_usd=_required(
                settings.price_usd, None, "--price-usd", "purchase price of the owned machine, in US dollars"
            ),
            years=settings.years,
            watts=_required(settings.watts, measured.watts, "--watts", "power draw of the owned machine"),
            tariff_usd_per_kwh=settings.tariff,
            residual_usd=settings.residual_usd,
            pue=settings.pue,
            overhead_usd_per_hour=settings.overhead_usd_per_hour,
        )
    )
    return Question(
        hours=_required(settings.hours, measured.hours, "--hours", "hours of training"),
        rent_usd_per_hour=_required(
            settings.rent_usd_per_hour,
            measured.usd_per_hour,
            "--rent-usd-per-hour",
            "hourly price of the rented machine",
        ),
        machine=machine,
        rent_extra_usd=settings.rent_extra_usd,
        own_hours=settings.own_hours,
    )


def _refused_kindly(make_machine: Callable[[], OwnedMachine]) -> OwnedMachine:
    try:
        return make_machine()
    except SettingsError:
        raise
    except ValueError as err:
        raise SettingsError(f"--{err}") from None


def _required(value: float | None, measured: float | None, flag: str, what: str) -> float:
    figure = measured if value is None else value
    if figure is None:
        raise SettingsError(f"{flag} is required: {what}; it was not measured")
    return figure


def _measured(settings: CompareSettings, err: TextIO) -> Measured:
    now = time.time()
    between = span(settings.begin, settings.end, now)
    progress = Progress(err)
    try:
        report = make(connect_all(settings), settings, between, now, progress)
    finally:
        progress.end()
    needed = settings.hours is None or settings.rent_usd_per_hour is None or settings.watts is None
    return measured_in(report, between, settings.years, settings.instance_type, must=needed)


def measured_in(report: Report, between: Span, years: float, instance_type: str = "", *, must: bool = True) -> Measured:
    """What a report contains of the hours of one type of rented machines, their price and the power drawn.

    Raises:
        SettingsError: where several types were rented, none of which was chosen, and ``must`` one be known; one hour
            of each is another thing.
    """
    pieces = [piece for row in report.runs for piece in row.pieces if piece.hours > 0]
    owned = sum(piece.hours for piece in pieces if piece.option == OWNED)
    types: dict[str, list[Piece]] = {}
    for piece in pieces:
        name = f"{piece.provider}/{piece.instance_type}".strip("/")
        if piece.option != OWNED and instance_type in ("", name, piece.instance_type):
            types.setdefault(name, []).append(piece)
    if len(types) > 1 and must:
        raise SettingsError(_several(types))
    notes = [f"{owned:,.2f} node hours on owned machines are not rent and are left out."] if owned else []
    if not types:
        of_type = f" of type {instance_type!r}" if instance_type else ""
        notes.append(f"No node hours of runs on rented machines{of_type} were measured.")
    if len(types) != 1:
        return Measured(notes=(*_simulated(report), *notes, *report.notes), simulated=report.simulated)
    (rented,) = types.items()
    return _of_type(report, between, years, rented, notes)


def _simulated(report: Report) -> list[str]:
    return ["These measurements are SIMULATED: an agent reports simulated data."] if report.simulated else []


def _several(types: dict[str, list[Piece]]) -> str:
    each = sorted(types.items(), key=lambda named: -sum(piece.hours for piece in named[1]))
    listed = "; ".join(f"{name or 'without name'} {_hours_and_price(pieces)}" for name, pieces in each[:_NAMED])
    more = f"; and {len(each) - _NAMED} more" if len(each) > _NAMED else ""
    return f"--instance-type must be given: runs were on {len(each)} types of rented machines ({listed}{more})"


def _hours_and_price(pieces: list[Piece]) -> str:
    usd = _usd_per_hour(pieces)
    return f"{sum(piece.hours for piece in pieces):,.2f} h" + (f" at ${usd:,.4f}/h" if usd is not None else "")


def _usd_per_hour(pieces: list[Piece]) -> float | None:
    hours = sum(piece.hours for piece in pieces if piece.usd is not None)
    return sum(piece.usd or 0.0 for piece in pieces) / hours if hours else None


def _of_type(
    report: Report, between: Span, years: float, rented: tuple[str, list[Piece]], notes: list[str]
) -> Measured:
    name, pieces = rented
    hours = sum(piece.hours for piece in pieces)
    nodes = {piece.node for piece in pieces}
    watts = [drawn for node, drawn in report.power_watts.items() if node in nodes]
    days = (between.end - between.begin) / 86_400
    life = hours / days * years * HOURS_PER_YEAR / 24
    usd = _usd_per_hour(pieces)
    when = f"{clock(between.begin)} to {clock(between.end)}"
    scope = f"{hours:,.2f} node hours of runs on {name or 'a type without name'} in {days:,.2f} days"
    sentences = [*_simulated(report), f"Measured {when}: {scope}; at this pace {life:,.0f} h in {years:g} years."]
    if usd is not None:
        paid = sorted({piece.option.replace("_", " ") for piece in pieces if piece.option})
        sentences.append(f"Mean cost of a node hour: ${usd:,.4f} ({', '.join(paid) or 'purchase option unknown'}).")
    if watts:
        of = "1 node" if len(watts) == 1 else f"{len(watts)} nodes"
        sentences.append(
            f"Mean power draw of a node's GPUs: {sum(watts) / len(watts):,.0f} W ({of}, idle time included; without "
            "CPU, fans and losses)."
        )
    return Measured(
        hours=life or None,
        usd_per_hour=usd,
        watts=sum(watts) / len(watts) if watts else None,
        notes=(*sentences, *notes, *report.notes),
        simulated=report.simulated,
    )
