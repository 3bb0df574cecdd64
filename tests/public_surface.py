"""What users hold on to: flags, variables, metrics with their labels, HTTP paths, Python names, rules and alerts.

``tests/public_surface.txt`` is that of the version before, a name a line; ``python -m tests.public_surface`` writes it
again when something was added, or was removed on purpose and CHANGELOG says so under "Migration".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDED = Path(__file__).with_suffix(".txt")
TABLE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n(?P<rows>.*?)<!-- end -->", re.DOTALL)
PAGES = ("configuration.md", "demo.md", "metrics.md", "reference.md")
"""Their tables are written from the code by ``scripts.docs``, and a test compares them."""
RULE = re.compile(r"^\s*(?:- )?(record|alert): (\S+)$", re.MULTILINE)


def surface(root: Path = ROOT) -> list[str]:
    """One line for each name, sorted."""
    return sorted({*_documented(root / "docs"), *_rules(root / "prometheus" / "rules")})


def _documented(docs: Path) -> Iterator[str]:
    for page in PAGES:
        for table in TABLE.finditer((docs / page).read_text(encoding="utf-8")):
            for row in table["rows"].splitlines()[2:]:
                cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
                # The last cell is prose; the default of a setting and the programs that serve a path are kept.
                yield " ".join([table["name"], *cells[:-1]]).strip()


def _rules(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.yml"):
        for kind, name in RULE.findall(path.read_text(encoding="utf-8")):
            yield f"{kind} {name}"


if __name__ == "__main__":
    RECORDED.write_text("".join(f"{line}\n" for line in surface()), encoding="utf-8")
