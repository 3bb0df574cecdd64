"""The pages about prices name every setting, metric and source, and each source's needs, assumptions and limits."""

from __future__ import annotations

import csv
import re
from importlib.resources import files
from pathlib import Path

import pytest

from epochcost.poller.collector import PollerCollector
from epochcost.poller.poller_settings import PollerSettings
from epochcost.poller.snapshot import PollerSnapshot
from epochcost.prices import SOURCES
from epochcost.prices.price_list import NEEDED, OPTIONAL
from epochcost.settings import options

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "prices.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCS / "prices").glob("*.md"))}
ALL = "\n".join([PAGE, *PAGES.values()])
PAGE_OF = {"aws_bulk": "aws"}
"""Of sources that share a page with another."""
NAMED = {
    "Google Colab", "Google Cloud", "AWS EC2", "AWS SageMaker", "Azure", "Paperspace", "vast.ai", "Kaggle",
    "IBM (Watson)", "Rescale", "FloydHub", "Crestle", "Salamander", "VectorDash", "snark.ai",
}  # fmt: skip
"""The systems that the reference articles name."""


def test_every_setting_is_on_a_page() -> None:
    flags = [f"--{each.flag}" for each in options(PollerSettings).values() if not each.structured]
    assert [flag for flag in flags if flag not in ALL] == []


def test_every_metric_is_on_the_page() -> None:
    families = PollerCollector(lambda: PollerSnapshot(0.0)).collect()
    names = [f.name + ("_total" if f.type == "counter" else "") for f in families]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_source_and_every_column_of_a_list_is_on_a_page() -> None:
    assert [name for name in SOURCES if f"`{name}`" not in PAGE] == []
    assert [name for name in (*NEEDED, *OPTIONAL) if f"`{name}`" not in PAGES["listed"]] == []


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_a_page_with_the_required_sections(source: str) -> None:
    page = PAGES.get(PAGE_OF.get(source, source), "")
    assert page, f"there is no page docs/prices/{PAGE_OF.get(source, source)}.md"
    assert f"(prices/{PAGE_OF.get(source, source)}.md)" in PAGE
    assert re.search(r"^\| endpoints? \|", page, re.MULTILINE)
    assert re.search(r"^\| credentials \|", page, re.MULTILINE)
    assert re.search(r"^\| polled every \|", page, re.MULTILINE)
    assert "## Assumed" in page
    assert "## Left out" in page


def test_every_system_of_the_articles_has_its_row_with_its_date() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| `(\w+)`[^|]*\| ([^|]+?) \| ([^|]+?) \|$", PAGES["listed"], re.MULTILINE)
    table = {re.sub(r" \(GPU.*", "", system): rest for system, *rest in rows if system != "system"}
    assert set(table) >= NAMED
    text = (files("epochcost.prices") / "listed.csv").read_text(encoding="utf-8")
    listed: dict[str, str] = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        region = "sagemaker" if row["instance_type"].startswith("ml.") else row["provider"]
        listed[region] = max(listed.get(region, ""), row["date"])
    for system, (provider, origin, newest) in table.items():
        region = "sagemaker" if system == "AWS SageMaker" else provider
        assert newest.split(":")[0] == listed.get(region, "none"), system
        if newest == "none":
            assert "free of charge" in origin
    assert set(listed) - {"sagemaker"} <= {provider for provider, _, _ in table.values()}
