"""The button behind the link of a notice, in a real browser, at the page of a real agent with a guard."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.driven import World
from tests.guard.test_guard_agent import STALLED, advance, begin, guarded
from tests.page.conftest import Page
from tests.waiting import wait_for

pytestmark = pytest.mark.browser


def test_whoever_has_the_link_keeps_it_by_the_button(chromium, tmp_path: Path) -> None:
    world = World(tmp_path)
    it = guarded(world, STALLED.format(mark=tmp_path / "mark"))
    begin(world)
    advance(it, world, 60)
    it.run(450)
    assert it.app.guarding is not None
    link = it.app.guarding.guard.keeps.link("r", it.app.clock.now())
    it.scrape()  # it serves from now on
    page = Page(chromium)
    page.view(1100, "light")

    def opened(fragment: str) -> None:
        chromium.get("about:blank")
        chromium.get(f"{it.app.server.url}/{fragment}")
        wait_for(lambda: page.text("#link") == "live", what="the page being live")

    def pressed() -> str:
        page.run("document.getElementById('keepbutton').click()")
        return str(wait_for(lambda: page.text("#keepresult"), what="an answer"))

    opened("")
    assert page.text("#keep") == ""
    opened(f"#keep=r!{link[:-2]}")
    assert pressed() == "Not kept: this link is invalid or has expired"
    opened(f"#keep=another!{link}")
    assert "Not kept" in pressed()
    opened(f"#keep=r!{link}")
    assert page.text("#keephead") == "Keep run r?"
    page.run("document.getElementById('keepfor').value = '12h'")
    page.run("document.getElementById('keepwhy').value = 'a <b>debugger</b> is attached'")
    assert pressed() == "Kept for 12h."
    it.run(60)
    kept = {"run": "r", "by": "whoever had the link", "why": "a <b>debugger</b> is attached"}
    assert it.value("guard_keep_until_timestamp_seconds", **kept) == pytest.approx(world.wall + 12 * 3600, abs=90)
    wait_for(lambda: "keeps run r" in page.text("body"), what="the page saying that it is kept")
    # Chromium says each answer of an error in its console; nothing else is there.
    assert all("403" in line for line in page.complaints())
    it.run(3600)
    assert not (tmp_path / "mark").exists()
    it.close()
