"""SageMaker's training prices by the real boto3 against a simulated AWS."""

from __future__ import annotations

from typing import Any

import pytest
from tests.prices.aws_server import (
    AwsPriceServer,
    product,
)
from tests.prices.aws_source import NOW, dollars, wanted

from epochcost.prices.aws.aws_on_demand import AwsOnDemand
from epochcost.prices.aws.aws_sagemaker import AwsSageMaker
from epochcost.prices.price_source import Catalogue, PriceSourceError
from epochcost.prices.unpriced import unpriced


def training(instance_type: str, usd: float | str, component: str = "Training", region: str = "us-east-1") -> Any:
    attributes = {"instanceName": instance_type, "component": component, "instanceType": f"{instance_type}-{component}"}
    return product(instance_type, region, usd, **{**attributes, "usagetype": f"USE1-{component}:{instance_type}"})


def test_sagemaker_training_is_priced_by_its_own_row_not_by_that_of_hosting_or_of_ec2(
    aws: AwsPriceServer, sagemaker: AwsSageMaker
) -> None:
    aws.filters = False  # as if the API ignored the filters: then the source's own checks must work
    aws.products = [
        training("ml.p2.xlarge", 1.125),
        training("ml.p2.xlarge", 1.361, "Hosting"),
        training("ml.p3.2xlarge", 3.825),
        training("ml.p2.xlarge", 1.5, region="eu-west-1"),
        product("p2.xlarge", "us-east-1", 0.90),
    ]
    result = sagemaker.fetch(wanted("ml.p2.xlarge", "p2.xlarge"), NOW)
    assert dollars(result) == {("us-east-1", "", "ml.p2.xlarge"): 1.125}
    assert aws.count("GetProducts") == 1, "p2.xlarge is EC2's"
    assert result.prices[0].source == "aws_sagemaker"


def test_ec2_is_not_queried_for_types_of_sagemaker(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    assert on_demand.fetch(wanted("ml.p2.xlarge"), NOW) == Catalogue()
    assert not aws.requests


def test_two_training_rows_give_no_price(aws: AwsPriceServer, sagemaker: AwsSageMaker) -> None:
    aws.products = [training("ml.p2.xlarge", 1.125), training("ml.p2.xlarge", 1.2)]
    with pytest.raises(PriceSourceError, match=r"aws_sagemaker: .* ml.p2.xlarge in us-east-1: 2 rows match, not one"):
        sagemaker.fetch(wanted("ml.p2.xlarge"), NOW)


def test_nothing_of_sagemaker_wanted_needs_no_credentials(sagemaker: AwsSageMaker) -> None:
    assert sagemaker.fetch(wanted("p2.xlarge"), NOW) == Catalogue()


def test_a_type_that_sagemaker_sells_for_clusters_only_is_reported_as_such(
    aws: AwsPriceServer, sagemaker: AwsSageMaker
) -> None:
    aws.products = [training("ml.p6e-gb200.36xlarge", 100.0, component="Cluster")]
    (missing,) = unpriced(sagemaker.fetch(wanted("ml.p6e-gb200.36xlarge"), NOW))
    assert missing.reason == "SageMaker sells it there for Cluster only, not for training jobs"


def test_a_new_kind_of_training_is_noticed(aws: AwsPriceServer, sagemaker: AwsSageMaker) -> None:
    aws.products = [
        training("ml.p2.xlarge", 1.125),
        training("ml.p2.xlarge", 1.361, "Hosting"),
        training("ml.p2.xlarge", 0.5, "TrainingLottery"),
    ]
    result = sagemaker.fetch(wanted("ml.p2.xlarge"), NOW)
    assert (result.unknown, dollars(result)) == (("TrainingLottery",), {("us-east-1", "", "ml.p2.xlarge"): 1.125})
