"""A local AWS for the real boto3, and a local server for sources that request JSON."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.prices.aws_server import AwsPriceServer
from tests.prices.aws_source import DAY
from tests.prices.json_server import JsonServer

from epochcost.prices.aws.aws_on_demand import AwsOnDemand
from epochcost.prices.aws.aws_sagemaker import AwsSageMaker
from epochcost.prices.aws.aws_spot import AwsSpot


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


@pytest.fixture
def on_demand() -> Iterator[AwsOnDemand]:
    source = AwsOnDemand(frozenset(), DAY)
    yield source
    source.clients.forget()


@pytest.fixture
def spot_source() -> Iterator[AwsSpot]:
    source = AwsSpot(frozenset(), 300.0, 3 * DAY)
    yield source
    source.clients.forget()


@pytest.fixture
def sagemaker() -> Iterator[AwsSageMaker]:
    source = AwsSageMaker(frozenset(), DAY)
    yield source
    source.clients.forget()
