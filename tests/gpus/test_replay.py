"""Recordings play by the reader's clock; a bad one names its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.gpus.gpu_source import GpuError
from epochcost.gpus.replay import RecordingError, ReplaySource, parse_recording, recorded
from epochcost.model import GpuReading, GpuSample

RECORDING = """
{"t": 100, "driver_version": "550", "gpus": [{"index": "0", "uuid": "GPU-a", "utilization_ratio": 0.5}]}
{"t": 102, "error": "nvmlDeviceGetCount: Unknown Error"}

{"t": 103, "gpus": [{"index": "0", "uuid": "GPU-a", "readable": false}]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "gpus.jsonl"
    file.write_text(RECORDING)
    return file


def test_a_recording_plays_from_the_first_read_on_and_its_last_reading_stays(path: Path):
    source = ReplaySource.from_file(path)
    first = source.read(5000.0)
    assert first == GpuReading(5000.0, (GpuSample("0", "GPU-a", utilization_ratio=0.5),), "550")
    assert source.read(5001.9).gpus == first.gpus
    with pytest.raises(GpuError, match="Unknown Error"):
        source.read(5002.0)
    assert not source.read(5003.0).gpus[0].readable
    assert source.read(9999.0).t == 9999.0
    source.close()


def test_a_recording_with_a_start_has_no_readings_before_it(path: Path):
    source = ReplaySource.from_file(path, start=50.0)
    with pytest.raises(GpuError, match="begins 10 s from now"):
        source.read(40.0)
    assert source.read(51.0).gpus[0].utilization_ratio == 0.5


def test_a_repeated_recording_starts_over(path: Path):
    source = ReplaySource.from_file(path, start=0.0, repeat_after=10.0)
    assert not source.read(9.0).gpus[0].readable
    assert source.read(10.0).gpus[0].utilization_ratio == 0.5


@given(
    st.builds(
        GpuReading,
        t=st.floats(0, 1e9),
        gpus=st.lists(
            st.builds(
                GpuSample,
                index=st.text(max_size=3),
                uuid=st.text(max_size=5),
                model=st.text(max_size=5),
                readable=st.booleans(),
                utilization_ratio=st.none() | st.floats(0, 1),
                memory_used_bytes=st.none() | st.integers(0, 1 << 50),
                memory_total_bytes=st.none() | st.integers(0, 1 << 50),
                power_watts=st.none() | st.floats(0, 1e4),
                energy_joules=st.none() | st.floats(0, 1e12),
                temperature_celsius=st.none() | st.floats(-100, 200),
            ),
            max_size=3,
        ).map(tuple),
        driver_version=st.text(max_size=5),
    )
)
def test_a_recording_plays_back_unchanged(reading: GpuReading):
    moments = parse_recording([recorded(reading)], "recording")
    assert ReplaySource(moments).read(reading.t) == reading


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line.jsonl:1: "),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ('{"gpus": []}', "expected t as a number"),
        ('{"t": NaN, "gpus": []}', "expected t as a number"),
        ('{"t": 1e999, "gpus": []}', "expected t as a number"),
        ('{"t": ' + "9" * 400 + ', "gpus": []}', "expected t as a number"),
        ('{"t": true, "gpus": []}', "expected t as a number"),
        ('{"t": 1}', "expected gpus, a list"),
        ('{"t": 1, "gpus": {}}', "expected gpus, a list"),
        ('{"t": 1, "gpus": [7]}', "object with index and uuid"),
        ('{"t": 1, "gpus": [{"index": "0"}]}', "object with index and uuid"),
        ('{"t": 1, "gpus": [{"index": 0, "uuid": "a"}]}', "expected index as text, found 0"),
        ('{"t": 1, "gpus": [{"index": "0", "uuid": "a", "util": 1}]}', "unknown key 'util'"),
        ('{"t": 1, "gpus": [{"index": "0", "uuid": "a", "utilization_ratio": 87}]}', "from 0 to 1, found 87"),
        ('{"t": 1, "gpus": [{"index": "0", "uuid": "a", "power_watts": -1}]}', "expected power_watts"),
        ('{"t": 1, "gpus": [{"index": "0", "uuid": "a", "readable": "no"}]}', "expected readable as true or false"),
        ('{"t": 1, "error": 5}', "expected error as text"),
        ("[" * 100_000, "line.jsonl:1: "),
    ],
)
def test_a_bad_line_is_rejected_with_its_number_and_the_reason(line: str, message: str):
    with pytest.raises(RecordingError) as caught:
        parse_recording([line], "line.jsonl")
    assert str(caught.value).startswith("line.jsonl:1: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_recording_needs_ascending_times():
    readings = [GpuReading(2.0, ()), GpuReading(1.0, ())]
    with pytest.raises(RecordingError, match="must ascend"):
        ReplaySource(readings)


def test_a_recording_needs_a_reading(tmp_path: Path):
    with pytest.raises(RecordingError, match="at least one"):
        ReplaySource([])


def test_a_repeat_within_the_recording_is_rejected(path: Path):
    with pytest.raises(RecordingError, match="repeat_after must be above the recording's 3 s"):
        ReplaySource.from_file(path, repeat_after=2.0)


def test_a_missing_or_binary_file_is_named(tmp_path: Path):
    with pytest.raises(RecordingError, match=r"nothing\.jsonl"):
        ReplaySource.from_file(tmp_path / "nothing.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RecordingError, match=r"binary\.jsonl"):
        ReplaySource.from_file(tmp_path / "binary.jsonl")
