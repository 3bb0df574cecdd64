"""The button behind the link of a notice, in a real browser, at the page of a real agent with a guard."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.driven_agent import SimulatedMachine
from tests.guard.guarded_agent import STALLED, advance, begin, guarded
from tests.page.conftest import Page
from tests.waiting import wait_for

pytestmark = pytest.mark.browser


def test_the_holder_of_the_link_keeps_it_by_the_button(chromium, tmp_path: Path) -> None:
    machine = SimulatedMachine(tmp_path)
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    begin(machine)
    advance(it, machine, 60)
    it.run(450)
    assert it.app.guarding is not None
    link = it.app.guarding.guard.keeps.link("r", it.app.clock.now())
    it.scrape()  # starts the server
    page = Page(chromium)
    page.view(1100, "light")

    def open_page(fragment: str) -> None:
        chromium.get("about:blank")
        chromium.get(f"{it.app.server.url}/{fragment}")
        wait_for(lambda: page.text("#link") == "live", what="the page being live")

    def pressed() -> str:
        page.run("document.getElementById('keepbutton').click()")
        return str(wait_for(lambda: page.text("#keepresult"), what="an answer"))

    open_page("")
    assert page.text("#keep") == ""
    open_page(f"#keep=r!{link[:-2]}")
    assert pressed() == "Not kept: this link is invalid or has expired"
    open_page(f"#keep=another!{link}")
    assert "Not kept" in pressed()
    open_page(f"#keep=r!{link}")
    assert page.text("#keephead") == "Keep run r?"
    page.run("document.getElementById('keepfor').value = '12h'")
    page.run("document.getElementById('keepwhy').value = 'a <b>debugger</b> is attached'")
    assert pressed() == "Kept for 12h."
    it.run(60)
    labels = {"run": "r", "by": "whoever had the link", "why": "a <b>debugger</b> is attached"}
    assert it.value("guard_keep_until_timestamp_seconds", **labels) == pytest.approx(machine.wall + 12 * 3600, abs=90)
    wait_for(lambda: "keeps run r" in page.text("body"), what="the page saying that it is kept")
    # Chromium logs each error response in its console; there is nothing else.
    assert all("403" in line for line in page.complaints())
    it.run(3600)
    assert not (tmp_path / "mark").exists()
    it.close()
