"""What is known beside a machine's price, as sentences for the live page: credit, free hours, traffic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from epochcost.agent.egress import GB
from epochcost.agent.snapshot import NodeTerms, Purse


def term_lines(terms: NodeTerms) -> Iterator[str]:
    """One sentence for each; none where nothing is known."""
    yield from map(_purse, terms.purses)
    for name, end in terms.free_ends:
        whose = (
            f"by the hours of all machines of account {terms.free_account}"
            if terms.free_scope == "account"
            else "by this machine's hours alone; other machines of the account may use them up sooner"
        )
        yield f"free hours {name}: until {_clock(end)}, {whose}"
    sent = sum(terms.egress_bytes.values())
    if terms.egress_bytes:
        usd = sum(terms.egress_usd.values())
        paid = f"${usd:.2f} in addition to the hours" if terms.egress_usd else "its price is not known"
        yield f"traffic: {sent / GB:.2f} GB sent over {', '.join(sorted(terms.egress_bytes))}, {paid}"


def _purse(purse: Purse) -> str:
    if not purse.machine_only:
        ends = f", used up or expired by {_clock(purse.empty_ts)}" if purse.empty_ts is not None else ""
        return f"credit {purse.name}: ${purse.usd:.2f} left{ends}"
    ends = f"; at this machine's price it lasts until {_clock(purse.empty_ts)}" if purse.empty_ts is not None else ""
    return (
        f"credit {purse.name}: at most ${purse.usd:.2f} left, given this machine's spend{ends}. "
        "Other machines may spend from it too"
    )


def _clock(ts: float) -> str:
    return datetime.fromtimestamp(ts, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
