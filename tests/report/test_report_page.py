"""The page in a real browser: it loads nothing from elsewhere, and is readable on a phone, dark and light."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.browser import headless_chromium
from tests.report.conftest import run_of

from epochcost.model import State
from epochcost.palette import PALETTE
from epochcost.reports.pieces import Outside
from epochcost.reports.report import Report
from epochcost.reports.report_page import page
from epochcost.reports.rows import with_frontier

pytestmark = [pytest.mark.browser, pytest.mark.stack]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with headless_chromium() as running:
        yield running


def show(browser, report: Report, folder: Path, width: int = 1440, scheme: str = "light"):
    path = folder / "report.html"
    path.write_text(page(report), encoding="utf-8")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(path.as_uri())
    return browser.execute_script


def test_the_page_makes_no_requests_and_the_browser_logs_no_error(browser, full_report, tmp_path):
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, full_report, tmp_path)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert urls == [(tmp_path / "report.html").as_uri()]
    assert browser.get_log("browser") == []
    assert "<script" not in page(full_report)


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_overflows_the_page(browser, full_report, tmp_path, width):
    run = show(browser, full_report, tmp_path, width)
    assert run("return document.documentElement.scrollWidth") <= width
    script = """return [...document.querySelectorAll('h1, h2, h3, p, li, dd, td')].filter((e) =>
        !e.closest('.wide') && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != 'inline')
        .map((e) => e.innerText)"""
    assert run(script) == []


@pytest.mark.parametrize("width", [1100, 1600])
def test_every_column_of_a_table_is_visible_without_scrolling(browser, full_report, tmp_path, width):
    run = show(browser, full_report, tmp_path, width)
    hidden = "return [...document.querySelectorAll('.wide')].map((e) => e.scrollWidth - e.clientWidth)"
    assert set(run(hidden)) == {0}


def test_on_a_phone_a_row_reads_from_top_to_bottom(browser, full_report, tmp_path):
    run = show(browser, full_report, tmp_path, 360)
    wide = "return [...document.querySelectorAll('td')].filter((e) => e.getBoundingClientRect().right > 360).length"
    assert run(wide) == 0
    titled = "return getComputedStyle(document.querySelector('td:nth-child(2)'), '::before').content"
    assert run(titled) == '"instance type"'


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_states_have_their_colours_of_the_palette(browser, full_report, tmp_path, scheme):
    run = show(browser, full_report, tmp_path, scheme=scheme)
    fill = run("return getComputedStyle(document.querySelector('.bars rect')).fill")
    expected = PALETTE[State.USEFUL]
    assert fill == f"rgb({', '.join(str(int(expected[i : i + 2], 16)) for i in (1, 3, 5))})"


def test_the_frontier_is_drawn_and_its_points_are_filled(browser, full_report, tmp_path):
    row = run_of(full_report, "char-lm-31")
    rows = [
        replace(row, instance_type="cheap", epoch_seconds_sum=1000 * row.epochs, epoch_usd_sum=0.1 * row.epochs),
        replace(row, instance_type="quick", epoch_seconds_sum=300 * row.epochs, epoch_usd_sum=0.4 * row.epochs),
        replace(row, instance_type="neither", epoch_seconds_sum=1200 * row.epochs, epoch_usd_sum=0.5 * row.epochs),
    ]
    run = show(browser, replace(full_report, groups=with_frontier(rows)), tmp_path)
    assert run("return document.querySelectorAll('.plot .on').length") == 2
    assert run("return document.querySelectorAll('.plot .off').length") == 1
    assert len(run("return document.querySelector('.frontier').getAttribute('points')").split()) == 2


def test_a_report_without_runs_and_prices_is_still_a_page(browser, full_report, tmp_path):
    empty = replace(
        full_report,
        runs=[],
        groups=[],
        outside=Outside(),
        fleet=replace(full_report.fleet, usd={}),
        notes=["No run was reported."],
    )
    run = show(browser, empty, tmp_path, 360)
    assert "No run was reported." in run("return document.body.innerText")
    assert run("return document.querySelectorAll('table').length") == 0


def test_simulated_figures_are_labelled_at_the_top(browser, full_report, tmp_path):
    run = show(browser, full_report, tmp_path)
    assert "SIMULATED" in run("return document.querySelector('#simulated').innerText")
