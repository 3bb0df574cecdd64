"""The documentation agrees with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.docs import DOCS, FILES, http, written

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.collectors import metric_names
from epochcost.demo.demo_settings import DemoSettings
from epochcost.poller.poller_settings import PollerSettings
from epochcost.reports.report_settings import CompareSettings, ReportSettings
from epochcost.settings import options

ROOT = DOCS.parent
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
SETTINGS = (AgentSettings, PollerSettings, ReportSettings, CompareSettings, DemoSettings)
FLAGS = {opt.flag for cls in SETTINGS for opt in options(cls).values()}
OTHERS_FLAGS = re.compile(
    r"--(detach|stop|no-example|mode|epochs|batch-size|samples|help|version|check|config\.file|framework|once|format|gpu|provider)\b"
)


@pytest.mark.parametrize("name", FILES)
def test_the_tables_are_those_of_the_code(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert written(text) == text, "run: python -m scripts.docs"


def test_every_path_of_agent_and_poller_has_a_documented_response() -> None:
    rows = [row.split(" | ") for row in http().splitlines()[2:]]
    assert {"`/metrics`", "`/v1/live`", "`/v1/price`", "`POST /v1/events`"} <= {row[0].strip("| ") for row in rows}
    assert [row[0] for row in rows if len(row[2].strip("| ")) < 10] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings that GitHub and the site (scripts/site) spell alike."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    plain = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in headings]
    return {re.sub(r"[-\s]+", "-", title) for title in plain} & {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_a_section_lead_to_its_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        other = page.parent / target if target else page
        if other.suffix == ".md":
            assert anchor in anchors(other), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_dotted_flag_that_a_page_names_exists(page: Path) -> None:
    for flag in re.findall(r"`--([a-z]+\.[a-z][a-z.-]*[a-z])", page.read_text(encoding="utf-8")):
        is_known = flag in FLAGS or flag == "config.file" or flag.startswith(("storage.", "cluster."))
        assert is_known or any(f.startswith(flag.rstrip(".")) for f in FLAGS), f"{page.name} names --{flag}"


def test_every_metric_is_documented() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    missing = [name for name in metric_names() if f"`{name.removesuffix('_count')}" not in text]
    assert not missing


@pytest.mark.parametrize("command", ["agent", "prices", "check", "demo"])
def test_help_names_every_option_its_variable_and_its_default(command: str) -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "epochcost", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "300", "PATH": "/usr/bin"},
    )
    cls = {"prices": PollerSettings, "demo": DemoSettings}.get(command, AgentSettings)
    for opt in options(cls).values():
        if not opt.structured:
            assert f"--{opt.flag} " in completed.stdout
            assert opt.env in completed.stdout
    assert re.search(r"default 127\.0\.0\.1:\d+", completed.stdout), "an address is shown as it is given"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_nothing_names_a_path_of_one_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    bad = re.compile(r"/work/(main|shared|\.)|pypi\.org/simple|registry\.npmjs|files\.pythonhosted")
    for name in filter(None, listed):
        path = ROOT / name
        if (
            path.suffix in (".md", ".py", ".yml", ".yaml", ".toml", ".json", ".sh", "")
            and path.is_file()
            and path != Path(__file__)
        ):
            assert not bad.search(path.read_text(encoding="utf-8", errors="replace")), name
