"""Amazon as a price source: EC2 on demand and SageMaker once a day, spot every few minutes, so that none waits."""

from __future__ import annotations

from typing import Protocol

from epochcost.prices.aws.aws_on_demand import PROVIDER, AwsOnDemand
from epochcost.prices.aws.aws_sagemaker import AwsSageMaker
from epochcost.prices.aws.aws_spot import AwsSpot
from epochcost.prices.price_source import Want


class AwsSettings(Protocol):
    """What these sources need of the poller's settings; durations in seconds."""

    @property
    def aws_regions(self) -> tuple[str, ...]:
        """Region codes to watch."""
        ...

    @property
    def aws_instance_types(self) -> tuple[str, ...]:
        """Instance types to watch in each of those regions."""
        ...

    @property
    def aws_spot_interval(self) -> float:
        """Interval between requests for spot prices."""
        ...

    @property
    def aws_spot_history(self) -> float:
        """How far back spot prices are requested."""
        ...

    @property
    def currencies(self) -> tuple[tuple[str, float], ...]:
        """US dollars for one unit of a currency, by its code."""
        ...

    @property
    def aws_on_demand_interval(self) -> float:
        """Interval between requests for on-demand prices."""
        ...


def make(settings: AwsSettings) -> tuple[AwsOnDemand | AwsSpot | AwsSageMaker, ...]:
    """Three sources, each with clients of its own because each has a thread of its own."""
    watched = frozenset(
        Want(PROVIDER, region, instance_type)
        for region in settings.aws_regions
        for instance_type in settings.aws_instance_types
    )
    rates = dict(settings.currencies)
    return (
        AwsOnDemand(watched, settings.aws_on_demand_interval, rates),
        AwsSpot(watched, settings.aws_spot_interval, settings.aws_spot_history, rates),
        AwsSageMaker(watched, settings.aws_on_demand_interval, rates),
    )
