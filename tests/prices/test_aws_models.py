"""The slimmed-down service descriptions for boto3: enough for every call, and little else."""

from __future__ import annotations

import ast
import gc
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
from botocore.model import OperationModel, ServiceModel, Shape

from epochcost.prices.aws import aws_models
from epochcost.prices.aws.aws_models import USED, make_loader, slim
from epochcost.prices.collector_pause import no_collection, set_aside


def full_description(service: str) -> dict[str, Any]:
    return botocore.loaders.Loader().load_service_model(service, "service-2")


def shapes(operation: OperationModel) -> set[str]:
    """Names of every shape of what goes out and comes back, as botocore itself walks them."""
    shape_names: set[str] = set()
    ahead: list[Shape] = [shape for shape in (operation.input_shape, operation.output_shape) if shape is not None]
    while ahead:
        shape = ahead.pop()
        if shape.name not in shape_names:
            shape_names.add(shape.name)
            ahead += getattr(shape, "members", {}).values()
            ahead += [part for name in ("member", "key", "value") if (part := getattr(shape, name, None)) is not None]
    return shape_names


@pytest.mark.parametrize("name", USED["ec2"])
def test_a_used_operation_keeps_every_shape_that_botocore_may_need(name: str) -> None:
    full = ServiceModel(full_description("ec2"), "ec2").operation_model(name)
    slimmed = ServiceModel(slim(full_description("ec2")), "ec2").operation_model(name)
    assert shapes(slimmed) == shapes(full)
    assert len(shapes(slimmed)) > 5, "the walk above must see something"


def test_ec2_becomes_a_hundredth_and_other_services_stay_whole() -> None:
    ec2, pricing = full_description("ec2"), full_description("pricing")
    assert len(slim(ec2)["operations"]) == 2 < len(ec2["operations"]) / 100
    assert len(slim(ec2)["shapes"]) < len(ec2["shapes"]) / 10
    assert slim(pricing) == pricing


def test_every_operation_that_a_price_source_calls_on_ec2_is_kept() -> None:
    operations = set()
    for file in Path(aws_models.__file__).parent.glob("aws_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "pages":
                service, _, operation = node.args[:3]
                if ast.literal_eval(service) == "ec2":
                    operations.add(ast.literal_eval(operation))
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    assert {client.meta.method_to_api_mapping[name] for name in operations} == set(USED["ec2"])


def test_anything_but_a_service_description_is_unchanged() -> None:
    for read in (None, [], "text", {"pagination": {}}, {"metadata": {"endpointPrefix": "ec2"}}):
        assert slim(read) is read


def test_a_description_without_an_operation_that_is_used_is_an_error_and_not_a_client_without_it() -> None:
    model = full_description("ec2")
    renamed = {**model, "operations": {f"{name}V2": each for name, each in model["operations"].items()}}
    with pytest.raises(KeyError, match="DescribeInstanceTypes"):
        slim(renamed)


def test_the_loader_gives_boto3_clients_of_both_kinds() -> None:
    core = botocore.session.get_session()
    core.register_component("data_loader", make_loader())
    session = boto3.Session(botocore_session=core, aws_access_key_id="a", aws_secret_access_key="b")
    ec2 = session.client("ec2", region_name="us-east-1")
    assert not hasattr(ec2, "run_instances"), "the cut description is in use"
    assert ec2.can_paginate("describe_spot_price_history")
    assert session.client("pricing", region_name="us-east-1").can_paginate("get_products")


def test_garbage_collection_continues_after_a_pause_whatever_happens_in_it() -> None:
    with no_collection():
        assert not gc.isenabled()
    with pytest.raises(ZeroDivisionError), no_collection():
        _ = 1 / 0
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled(), "who had it off keeps it off"
    finally:
        gc.enable()


def test_what_is_set_aside_once_is_not_set_aside_again() -> None:
    try:
        set_aside("a library of this test")
        frozen = gc.get_freeze_count()
        assert frozen > 1000
        more = [[each] for each in range(500)]
        set_aside("a library of this test")
        assert gc.get_freeze_count() <= frozen
        set_aside("another one")
        assert gc.get_freeze_count() >= frozen + len(more)
    finally:
        gc.unfreeze()
