"""No flag, variable, metric, label, path, Python name, rule or alert goes or is renamed unnoticed."""

from __future__ import annotations

from collections import Counter

from tests.public_surface import RECORDED, surface

BEFORE = RECORDED.read_text(encoding="utf-8").splitlines()


def test_nothing_that_users_hold_on_to_is_gone() -> None:
    gone = sorted(set(BEFORE) - set(surface()))
    assert gone == [], "gone, renamed or with another default. If meant: CHANGELOG, python -m tests.public_surface"


def test_what_is_new_is_recorded() -> None:
    new = sorted(set(surface()) - set(BEFORE))
    assert new == [], "new: python -m tests.public_surface records it"


def test_each_kind_is_there() -> None:
    kinds = Counter(line.partition(" ")[0] for line in BEFORE)
    assert kinds["record"] > 100
    assert kinds["alert"] > 30
    assert sum("`epochcost_" in line for line in BEFORE) > 100
    assert sum("`--" in line and "`EPOCHCOST_" in line for line in BEFORE) > 100
    assert len(BEFORE) == len(set(BEFORE))
