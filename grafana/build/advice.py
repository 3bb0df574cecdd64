"""What to do about each alert, in a few words for a column; its runbook has the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epochcost import __version__

RUNBOOK = f"https://github.com/epochcost/epochcost/blob/v{__version__}/docs/runbooks/${{__value.raw}}.md"
"""Of this version, as the alerts themselves link it."""
WHAT_TO_DO: Mapping[str, str] = {
    "BudgetBurn": "end vacant or idle machines",
    "SpendUnusual": "check the newest nodes; set a budget",
    "GuardStopsSoon": "epochcost keep 4h, if it must go on",
    "GuardGaveUp": "end it by hand; see the agent's log",
    "GuardBlind": "see the live page for the reason",
    "MachineNameShared": "set --machine.name on one of them",
    "TwoLeaders": "start it with RANK and WORLD_SIZE set",
    "RunPartMissing": "add what was billed for that part",
    "AgentVersion": "update these agents",
    "LabelTaken": "drop the target's label",
    "NothingScraped": "check the targets in Prometheus",
    "SpotNotCheaper": "use on demand, another zone or type",
    "CheaperZone": "start the next node there",
    "SpotCheaper": "move runs with checkpoints to spot",
    "NodeUnmatched": "add its region to the price poller",
    "PriceHeldBack": "check the provider's price page",
    "IdleCost": "load data faster, or use fewer GPUs",
    "IdleShare": "load data faster, or use fewer GPUs",
    "GpuIdle": "load data faster, or use fewer GPUs",
    "GpuHeldIdle": "ask its owner to free the GPU",
    "GpuUnderfilled": "raise the batch, or use a smaller GPU",
    "GpuUnreadable": "save a checkpoint, then reset the GPU",
    "PreemptionNotice": "save a checkpoint, start another node",
    "OwnedNodeIdle": "move work here from rented nodes",
    "DayWasted": "give it back between runs",
    "NodeVacant": "shut the node down",
    "NodeUpAfterRun": "shut it down, or start the next run",
    "PollersContradict": "give both pollers the same settings",
    "CreditLow": "top it up, or give machines back",
    "SessionEnding": "save a checkpoint now",
    "PriceBehind": "check the agents' --prices.url",
    "PriceUnknown": "run epochcost check on the node",
    "PriceStale": "renew the price list or credentials",
    "PriceSourceFailing": "see the poller's log",
    "PricesDown": "start the price poller again",
    "AgentDown": "start the agent, or remove the target",
    "AgentNotSampling": "restart the agent; see nvidia-smi",
    "CollectorFailing": "run epochcost check on one of them",
    "StartupLong": "see its log; keep images and data near",
    "LostWork": "save checkpoints more often",
    "EpochCostWorse": "see what changed since earlier epochs",
    "RunOverBudget": "save a checkpoint and end it",
    "RunStalled": "see its log; resume from a checkpoint",
}
"""By the alert's name without its prefix."""


def in_place_of_the_name() -> tuple[tuple[str, Any], ...]:
    """Field settings of a column of alert names: what to do in place of each, and a link to its runbook."""
    options = {f"Epochcost{alert}": {"text": text, "index": i} for i, (alert, text) in enumerate(WHAT_TO_DO.items())}
    return (
        ("mappings", [{"type": "value", "options": options}]),
        ("links", [{"title": "Open the runbook", "url": RUNBOOK, "targetBlank": True}]),
    )
