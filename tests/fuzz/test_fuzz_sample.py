"""A short sample of ``scripts/fuzz``."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.mutations import mutated
from tests.fuzz.readers import READERS, Reader


def fed(reader: Reader, data: bytes) -> None:
    try:
        reader.read(data)
    except reader.refuses:
        return


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("epochcost")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("name", READERS)
def test_a_good_input_is_read(name: str):
    for seed in READERS[name].seeds[:1]:
        READERS[name].read(seed)


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_a_reader(name: str, data: bytes):
    fed(READERS[name], data)


@pytest.mark.parametrize("name", READERS)
def test_no_change_of_a_good_input_breaks_its_reader(name: str):
    rng = random.Random(7)
    for _ in range(150):
        fed(READERS[name], mutated(rng.choice(READERS[name].seeds), rng))
