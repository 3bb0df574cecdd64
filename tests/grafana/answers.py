"""The results of the dashboards' queries over a simulated fleet."""

from __future__ import annotations

from typing import Any

from tests.grafana.boards import PanelQuery, queries
from tests.grafana.conftest import History
from tests.grafana.scenarios import FLEETS
from tests.grafana.simulated_prometheus import instant, over

ALL = list(queries())
MANY = FLEETS["many"]
RUN = "llm-7b-4417"


def chosen(history: History, board: str) -> dict[str, str]:
    """The values of the variables: Fleet shows every experiment."""
    return {k: v for k, v in history.chosen.items() if board != "fleet" or k != "experiment"}


def panel_result(history: History, query: PanelQuery, **variables: str) -> list[dict[str, Any]]:
    """The result as its panel would get it."""
    expr = query.filled(**{**chosen(history, query.board), **variables})
    if query.instant:
        return instant(history.url, expr, history.now)
    return over(history.url, expr, history.now - 6 * 3600, history.now, 60)


def panel_query(board: str, panel: str, ref: str = "A") -> PanelQuery:
    """The query of a panel."""
    (query,) = [q for q in ALL if (q.board, q.panel, q.ref) == (board, panel, ref)]
    return query


def now(history: History, board: str, panel: str, ref: str = "A", **variables: str) -> list[dict[str, Any]]:
    """The newest values, of a graph too."""
    expr = panel_query(board, panel, ref).filled(**{**chosen(history, board), **variables})
    return instant(history.url, expr, history.now)


def one(history: History, board: str, panel: str, ref: str = "A", **variables: str) -> float:
    """The one value."""
    (result,) = now(history, board, panel, ref, **variables)
    return float(result["value"][1])


def by(label: str, history: History, board: str, panel: str, ref: str = "A") -> dict[str, float]:
    """The newest value of each series by one of its labels."""
    return {r["metric"].get(label, ""): float(r["value"][1]) for r in now(history, board, panel, ref)}
