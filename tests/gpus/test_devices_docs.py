"""Every row of the table of faults is a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
FAULTS = PAGE.split("## Faults", 1)[1].split("\n## ", 1)[0]
ROWS = [line.strip("|").split("|") for line in FAULTS.splitlines() if line.startswith("| ")][2:]
TESTS = {
    name
    for package in ("gpus", "agent")
    for path in (ROOT / "tests" / package).glob("test_*.py")
    for name in re.findall(r"^def test_(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_each_fault_of_the_page_names_an_existing_test(row: list[str]) -> None:
    assert len(row) == 4
    assert row[3].strip().strip("`") in TESTS


def test_the_page_has_its_table() -> None:
    assert len(ROWS) > 40
