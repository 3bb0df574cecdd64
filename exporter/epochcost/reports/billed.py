"""What providers bill beyond the seconds that passed: at least a minute, whole minutes. Only of machines that ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from epochcost.model import PurchaseOption
from epochcost.prices.billing import billed_seconds
from epochcost.reports.format import dollars, length
from epochcost.reports.history import History, NodeHistory, NodeKey
from epochcost.reports.money import HOUR_SECONDS, Prices
from epochcost.reports.span import Span
from epochcost.reports.tracks import increments

_SAME_BOOT_SECONDS = 60.0
_NOTEWORTHY_SECONDS = 1.0
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Billed:
    """One node that was booted and ended within the span.

    Attributes:
        ran_seconds: as far as scrapes saw it.
        billed_seconds: what the provider's rule makes of them; None where the rule is not known.
        more_usd: what that costs beyond the seconds that it ran; None where rule or price are not known.
    """

    node: str
    provider: str
    instance_type: str
    ran_seconds: float
    billed_seconds: float | None
    more_usd: float | None


def billed(history: History, prices: Prices) -> list[Billed]:
    """Nodes whose whole life is within the span, in order of their names."""
    ended = [(key, node) for key, node in history.nodes.items() if _ended(node, history.span)]
    bills = (_billed(key, node, prices) for key, node in ended)
    return sorted((one for one in bills if one), key=lambda one: one.node)


def _ended(node: NodeHistory, span: Span) -> bool:
    """Booted once, within the span, and not seen in its last two windows."""
    last = node.seen.last()
    if node.born is None or last is None or last[0] >= span.steps - 1:
        return False
    return node.born >= span.begin and (node.reborn or node.born) - node.born < _SAME_BOOT_SECONDS


def _billed(key: NodeKey, node: NodeHistory, prices: Prices) -> Billed | None:
    window = (node.seen.last() or (0, 0.0))[0]
    node_info = node.who(window)
    option = node_info.get("purchase_option", "")
    if option not in {each.value for each in PurchaseOption}:
        return None
    ran = sum(sum(increments(track, from_zero=True).values()) for track in node.seconds.values())
    bill = billed_seconds(node_info["provider"], PurchaseOption(option), ran, node_info["instance_type"])
    price = prices.paid(key)[window]
    more = None if bill is None or price is None else (bill - ran) * price[0] / HOUR_SECONDS
    return Billed(prices.history.called(key), node_info["provider"], node_info["instance_type"], ran, bill, more)


def notes(billed: Sequence[Billed]) -> list[str]:
    """What the bill will hold that the seconds do not, and the providers for which that is not known."""
    sentences = []
    longer = [one for one in billed if (one.billed_seconds or 0.0) - one.ran_seconds >= _NOTEWORTHY_SECONDS]
    if longer:
        priced = [one.more_usd for one in longer if one.more_usd is not None]
        more = f"{dollars(sum(priced))} more" if len(priced) == len(longer) else "more, at a price that is not known"
        sentences.append(
            f"{_nodes(len(longer))} that ended will be billed for longer than they ran ({_each(longer)}): {more}, "
            "which is not included in any figure here."
        )
    if unknown := [one for one in billed if one.billed_seconds is None]:
        names = ", ".join(sorted({one.provider or "a provider without name" for one in unknown}))
        sentences.append(
            f"The billing increment of {names} is not known: {_nodes(len(unknown))} counted to the second."
        )
    return sentences


def _each(billed: Sequence[Billed]) -> str:
    named = (
        f"{one.node}, {one.provider} {one.instance_type}: "
        f"{length(one.ran_seconds)}, billed {length(one.billed_seconds)}"
        for one in billed[:_NAMED]
    )
    return _and_more(named, len(billed) - _NAMED)


def _and_more(named: Iterable[str], more: int) -> str:
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"
