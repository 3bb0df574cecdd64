"""The walks of docs/architecture.md lead to existing files and functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACE = re.compile(r"`([\w./-]+\.(?:py|yml))(?::([\w.]+))?`")
PLACES = sorted({(match[1], match[2] or "") for match in PLACE.finditer(TEXT)})


def resolved(name: str) -> Path | None:
    places = (ROOT / "exporter" / "epochcost" / name, ROOT / name)
    return next((path for path in places if path.is_file()), None)


@pytest.mark.parametrize(("file", "function"), PLACES, ids=lambda part: part or "whole")
def test_a_location_in_the_text_exists(file: str, function: str) -> None:
    path = resolved(file)
    assert path is not None, f"no file {file}"
    if not function:
        return
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for name in function.split("."):
        defined = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        ]
        assert defined, f"no {name} in {file}"
        body = defined[-1].body


def test_both_walks_exist() -> None:
    walks = TEXT.partition("## Two walkthroughs")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d\. ", walks, re.MULTILINE)
    assert len(steps) >= 10
    assert len(PLACE.findall(walks)) >= 15
