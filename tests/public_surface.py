"""What users hold on to: flags, variables, metrics with their labels, HTTP paths, Python names, rules and alerts.

``tests/public_surface.txt`` is that of the version before, a name a line; ``python -m tests.public_surface`` writes it
again when something was added, or was removed on purpose and CHANGELOG says so under "Migration".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.docs import BLOCK, DOCS, FILES
from tests.prometheus.rule_files import ALERTS, RECORDINGS

RECORDED = Path(__file__).with_suffix(".txt")


def surface() -> list[str]:
    """One line for each name, sorted."""
    rules = {f"record {rule.name}" for rule in RECORDINGS} | {f"alert {rule.name}" for rule in ALERTS}
    return sorted({*_documented(), *rules})


def _documented() -> Iterator[str]:
    """Rows of the tables that ``scripts.docs`` writes from the code, which a test compares with it."""
    for page in FILES:
        for table in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
            for row in table[0].splitlines()[3:-1]:
                cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
                # The last cell is prose; the default of a setting and the programs that serve a path are kept.
                yield " ".join([table["name"], *cells[:-1]]).strip()


if __name__ == "__main__":
    RECORDED.write_text("".join(f"{line}\n" for line in surface()), encoding="utf-8")
