"""The messages of libtpu's metrics service, as far as they are read: made here, so that no generated code is needed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "MetricRequest": (("metric_name", 1, "string"),),
    "MetricResponse": (("metric", 1, "TPUMetric"),),
    "TPUMetric": (("name", 1, "string"), ("metrics", 3, "Metric*")),
    "Metric": (("attribute", 1, "Attribute"), ("gauge", 3, "Gauge")),
    "Attribute": (("key", 1, "string"), ("value", 2, "AttrValue")),
    "AttrValue": (("int_attr", 3, "int64"),),
    "Gauge": (("as_double", 1, "double"), ("as_int", 2, "int64")),
}
"""The part that is read of libtpu's ``tpu_metric_service.proto``: fields by name, number and kind; ``*`` repeats."""
ONE_OF = {"Gauge": "value"}
"""Messages of which one field at a time is set, and what the choice is called."""


@functools.cache
def message_class(name: str) -> Any:  # noqa: ANN401 - made at run time
    """The class of one of `MESSAGES`.

    Raises:
        ImportError: without the package protobuf.
    """
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"tpu.monitoring.runtime.{name}"))


@functools.cache
def _pool() -> Any:  # noqa: ANN401 - protobuf has no types here
    from google.protobuf import descriptor_pb2, descriptor_pool

    kinds = descriptor_pb2.FieldDescriptorProto
    types = {"string": kinds.TYPE_STRING, "int64": kinds.TYPE_INT64, "double": kinds.TYPE_DOUBLE}
    file = descriptor_pb2.FileDescriptorProto(
        name="epochcost/tpu_metrics.proto", package="tpu.monitoring.runtime", syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in ONE_OF:
            message.oneof_decl.add(name=ONE_OF[name])
        for field, number, value in fields:
            kind = value.rstrip("*")
            message.field.add(
                name=field,
                number=number,
                label=kinds.LABEL_REPEATED if value.endswith("*") else kinds.LABEL_OPTIONAL,
                type=types.get(kind, kinds.TYPE_MESSAGE),
                type_name=None if kind in types else f".tpu.monitoring.runtime.{kind}",
                oneof_index=0 if name in ONE_OF else None,
            )
    # A pool of our own: another package in this process may know the same messages by generated code.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
