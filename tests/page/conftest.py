from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.browser import headless_chromium
from tests.page import snapshots
from tests.waiting import wait_for

from epochcost.agent.live_page import page_routes
from epochcost.agent.recent_hour import RecentHour
from epochcost.agent.snapshot import Snapshot
from epochcost.serve import Response, Route, Server, text


class Page:
    """A real browser at the live page of a server whose snapshot the test chooses."""

    def __init__(self, driver) -> None:
        self.driver = driver
        self.snapshot: Snapshot | None = snapshots.one_gpu()
        self.failing = False
        self.recent: RecentHour | None = None
        self.grafana = ""
        self.server = Server(("127.0.0.1", 0), {**page_routes(lambda: self.snapshot), "/v1/live": self._live})

    def _live(self, request) -> Response:
        if self.failing:
            return text(503, "set to fail")
        route: Route = page_routes(lambda: self.snapshot, self.recent, self.grafana)["/v1/live"]
        return route(request)

    def open(self, snapshot: Snapshot | None, width: int = 1100, scheme: str = "light") -> None:
        self.snapshot = snapshot
        self.view(width, scheme)
        self.driver.get(self.server.url)
        if snapshot:
            wait_for(lambda: self.text("#link") == "live", what="the page being live")

    def view(self, width: int, scheme: str) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def run(self, script: str, *args):
        return self.driver.execute_script(script, *args)

    def text(self, selector: str) -> str:
        """The visible text, with plain spaces."""
        script = (
            "const e = document.querySelector(arguments[0]); return e && e.getClientRects().length ? e.innerText : ''"
        )
        return " ".join(self.run(script, selector).split())

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector)

    def requested(self) -> list[str]:
        """URLs that the browser requested since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """The browser's console messages since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    with headless_chromium() as running:
        yield running


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    it = Page(chromium)
    with it.server:
        it.requested()
        it.complaints()
        yield it
        chromium.get("about:blank")
