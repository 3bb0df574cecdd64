"""A local AWS for the real boto3, and a local server for sources that request JSON."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.prices.aws_server import AwsPriceServer
from tests.prices.json_server import JsonServer


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsPriceServer]:
    """A simulated AWS, empty, with the environment that leads boto3 there."""
    server = AwsPriceServer()
    for name, value in server.environment(server.start()).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.stop()


@pytest.fixture
def server() -> Iterator[JsonServer]:
    """A local HTTP server with scripted replies."""
    with JsonServer() as running:
        yield running
