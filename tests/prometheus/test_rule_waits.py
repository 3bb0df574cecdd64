"""Other waits of alerts, written into the rule files that the package carries."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from epochcost.cli import main
from epochcost.rule_waits import alerts_in, parse_waits
from epochcost.shipped import KINDS

TEXTS = {file.name: file.read_text(encoding="utf-8") for file in KINDS["rules"].files() if "alerts" in file.name}
NAMES = frozenset().union(*map(alerts_in, TEXTS.values()))


def rules(text: str) -> dict[tuple[str, str], list[dict]]:
    by_alert: dict[tuple[str, str], list[dict]] = {}
    for rule in (r for group in yaml.safe_load(text)["groups"] for r in group["rules"]):
        by_alert.setdefault((rule["alert"], rule["labels"]["severity"]), []).append(rule)
    return by_alert


def test_every_alert_can_be_given_another_wait_and_nothing_else_changes():
    for text in TEXTS.values():
        waits = parse_waits(",".join(f"{name}=47m" for name in sorted(alerts_in(text))), NAMES)
        for (name, severity), overridden in rules(waits.written(text)).items():
            for new, old in zip(overridden, rules(text)[name, severity], strict=True):
                assert new["for"] == "2820s"
                assert {k: new[k] for k in ("expr", "labels")} == {k: old[k] for k in ("expr", "labels")}
                assert set(new) == set(old)


def test_the_text_of_the_alert_shows_the_new_wait_and_only_that_severity_changes(tmp_path: Path, capsys):
    assert main(["rules", "--out", str(tmp_path), "--wait", "EpochcostNodeVacant:critical=30m"]) == 0
    alerts = rules((tmp_path / "epochcost-alerts.yml").read_text())
    (critical,), (warning,) = alerts["EpochcostNodeVacant", "critical"], alerts["EpochcostNodeVacant", "warning"]
    assert critical["for"] == "1800s"
    assert "for 30 minutes" in critical["annotations"]["description"]
    assert (warning["for"], "for 15 minutes" in warning["annotations"]["description"]) == ("15m", True)
    assert main(["rules", "--out", str(tmp_path), "--wait", "EpochcostNodeVacant:critical=30m"]) == 0
    assert main(["rules", "--out", str(tmp_path)]) == 1, "a file that was changed is never replaced"


@pytest.mark.parametrize(("wait", "message"), [("3h", "3 hours"), ("90m", "90 minutes"), ("1h", "60 minutes")])
def test_a_wait_of_hours_is_given_in_hours(wait: str, message: str):
    overridden = parse_waits(f"EpochcostOwnedNodeIdle={wait},EpochcostGpuHeldIdle={wait}", NAMES)
    texts = [r["annotations"]["description"] for t in TEXTS.values() for all_ in rules(overridden.written(t)).values()
             for r in all_ if r["alert"] in ("EpochcostOwnedNodeIdle", "EpochcostGpuHeldIdle")]  # fmt: skip
    assert len(texts) == 3
    assert all(f"for {message}" in text or f"for more than {message}" in text for text in texts)


def test_windows_in_the_text_of_an_alert_are_not_its_wait():
    for waits in ("EpochcostSpendUnusual=17m", "EpochcostBudgetBurn=17m"):
        assert not any("17 minutes" in parse_waits(waits, NAMES).written(text) for text in TEXTS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EpochcostNodeVacant", "expected ALERT=30m"),
        ("EpochcostNodeVacant=soon", "is not valid"),
        ("EpochcostNodeVacant=-5m", "is not valid"),
        ("EpochcostNodeVacant=400d", "0s to 30d"),
        ("EpochcostNoSuch=5m", "there is no alert 'EpochcostNoSuch'"),
        ("EpochcostNodeVacant:loud=5m", "is not valid"),
        ("=5m", "is not valid"),
    ],
)
def test_an_invalid_wait_is_named_and_nothing_is_written(tmp_path: Path, capsys, text, message):
    assert main(["rules", "--out", str(tmp_path / "rules"), "--wait", text]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rules").exists()
