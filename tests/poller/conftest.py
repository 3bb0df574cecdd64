"""The simulated AWS, as in the tests of the sources."""

from __future__ import annotations

from tests.prices.conftest import aws

__all__ = ["aws"]
