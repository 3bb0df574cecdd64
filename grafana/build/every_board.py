"""Every dashboard by the name of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compare_board import compare
from finance_board import finance
from fleet_board import fleet
from health_board import health
from market_board import market
from node_board import node
from run_board import run

BUILT: Mapping[str, Callable[[], str]] = {
    "compare": compare,
    "finance": finance,
    "fleet": fleet,
    "health": health,
    "market": market,
    "node": node,
    "run": run,
}
