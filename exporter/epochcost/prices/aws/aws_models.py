"""What boto3 reads before it can send AWS a request: descriptions of whole services, here only as much as is used.

EC2's describes more than 700 operations. As Python objects it takes 23 MiB for as long as the poller runs, and each
pass of the garbage collector over it stops every thread, also the one that serves scrapes, for a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from epochcost.prices.collector_pause import no_collection

USED = {"ec2": ("DescribeInstanceTypes", "DescribeSpotPriceHistory")}
"""By endpoint prefix of the service: the operations that the price sources call. Other services are read whole."""


def make_loader() -> Any:  # noqa: ANN401 - botocore has no types
    """A loader of botocore that keeps of the services in `USED` only what is called.

    Raises:
        ImportError: without botocore.
    """
    from botocore.loaders import JSONFileLoader, Loader

    class Slim(JSONFileLoader):  # type: ignore[misc]
        """Botocore's reader of files, with results that are cut down before they are cached."""

        def load_file(self, file_path: str) -> Any:  # noqa: ANN401
            with no_collection():
                return slim(super().load_file(file_path))

    return Loader(file_loader=Slim())


def slim(model: Any) -> Any:  # noqa: ANN401 - whatever was in the file
    """``model`` with only the operations in `USED` and the shapes that these need; anything else as it is."""
    if not isinstance(model, Mapping) or not {"metadata", "operations", "shapes"} <= model.keys():
        return model
    used = USED.get(model["metadata"].get("endpointPrefix", ""))
    if used is None:
        return model
    operations = {name: model["operations"][name] for name in used}
    needed: set[str] = set()
    ahead = list(_named(operations))
    while ahead:
        name = ahead.pop()
        if name not in needed:
            needed.add(name)
            ahead += _named(model["shapes"][name])
    return {**model, "operations": operations, "shapes": {name: model["shapes"][name] for name in sorted(needed)}}


def _named(part: object) -> Iterator[str]:
    """The shapes that ``part`` names, however deep."""
    if isinstance(part, Mapping):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        for value in part.values():
            yield from _named(value)
    elif isinstance(part, list):
        for value in part:
            yield from _named(value)
