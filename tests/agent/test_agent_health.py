"""A feed whose request hangs is not healthy, whatever its last response."""

from __future__ import annotations

import threading
import time

import pytest
from tests.waiting import wait_for

from epochcost.agent import agent_health
from epochcost.agent.agent_health import hanging
from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.feed import OwnerFeed


def test_a_request_without_a_response_for_a_minute_is_a_failure():
    assert hanging(None) == ""
    assert hanging(time.monotonic() - 59.0) == ""
    assert hanging(time.monotonic() - 75.0) == "no response for 75 s"


def test_a_source_that_hangs_does_not_show_its_last_success_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(agent_health, "HANG_SECONDS", 0.05)
    release = threading.Event()

    class Hangs:
        name = "kubernetes"
        requests = 0

        def owners(self, _: object) -> list[GpuOwner]:
            self.requests += 1
            if self.requests > 1:
                release.wait(20)
            return []

    feed = OwnerFeed(Hangs(), lambda: [GpuSample("0", "GPU-a")])  # type: ignore[arg-type]
    feed.ask()
    assert (feed.error, hanging(feed.asking_since)) == ("", "")
    thread = threading.Thread(target=feed.ask)
    thread.start()
    wait_for(lambda: hanging(feed.asking_since), what="the hang")
    release.set()
    thread.join()
    assert hanging(feed.asking_since) == ""
