"""Untrusted text, sanitised for output: it controls no terminal, ends no line and is no spreadsheet formula."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.shown_text import MAX_NAME, clean_name, csv_text, is_name, printable

EVIL = [
    "=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "-2+3", "\t=1", "\r=1", "\n=1", " =1+1", "\uff1dcmd", "\u00a0=1", "'=1",
    "x\u202egnp", "a\x00b", "\x1b]0;owned\x07\x1b[2J", "\ud800", "\u2028x", "\u200bx",
]  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_no_cell_is_a_formula_or_has_unprintable_characters(text: str):
    out = csv_text(["a", "b"], [{"a": text, "b": -1.5}])
    assert all(char.isprintable() or char == "\n" for char in out)
    assert out.count("\n") == 2
    (_, (cell, figure)) = csv.reader(io.StringIO(out))
    assert cell.lstrip(" \u00a0")[:1] not in ("=", "+", "-", "@", "\uff1d", "\t", "\r", "\n")
    assert figure == "-1.5", "figures are ours, and stay as they are"


@given(st.text(max_size=300))
def test_a_clean_name_is_printable_short_and_distinct(text: str):
    clean = clean_name(text)
    assert is_name(clean)
    assert clean_name(clean) == clean
    if is_name(text):
        assert clean == text
    else:
        assert clean != clean_name(text + "x")
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


def test_names_are_never_empty_and_long_ones_are_truncated():
    assert csv_text(["a"], [{"a": None}]) == 'a\n""\n'
    assert len(clean_name("x" * 5000)) == MAX_NAME
