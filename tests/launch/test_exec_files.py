"""Progress from files: the tables, documents and records that frameworks write."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochcost.launch.moment import Moment
from epochcost.launch.reading.file_tailer import MAX_ENTRIES, FileTailer
from epochcost.launch.reading.files import FILES, metrics_csv, results_csv, trainer_state
from epochcost.launch.reading.progress import Form, Progress
from epochcost.launch.reading.progress_snapshot import Plan
from epochcost.launch.reading.progress_tracker import ProgressTracker
from epochcost.launch.reading.tensorboard import MAX_READ_BYTES, NotRecordsError, progress_of, records

START = Moment(0.0, 0.0)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def scalar(tag: str, value: float | None, step: int) -> bytes:
    """An event as TensorBoard's writers make it: wall time, step, summary."""
    figure = b"" if value is None else b"\x15" + struct.pack("<f", value)
    inner = b"\x0a" + varint(len(tag)) + tag.encode() + figure
    summary = b"\x0a" + varint(len(inner)) + inner
    return b"\x09" + struct.pack("<d", 1.7e9) + b"\x10" + varint(step) + b"\x2a" + varint(len(summary)) + summary


def record(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + b"crc_" + data + b"_crc"


def test_ultralytics_rows_are_finished_epochs_from_1_or_in_old_versions_from_0():
    head = "                  epoch,      train/box_loss,   metrics/mAP50(B)\n"
    for first in (0, 1):
        data = head + "".join(f"  {n},  1.2, 0.5\n" for n in range(first, first + 3))
        one = results_csv(data.encode() + b"  9, 1.")  # a row that is being written
        assert one is not None
        assert (one.number, one.first, one.form) == (first + 2, first, Form.END)
        tracker = ProgressTracker(Plan(), START)
        tracker.take(one, START)
        assert tracker.news(START)[-1].epoch == 3


def test_lightning_rows_have_epoch_and_step():
    one = metrics_csv(b"epoch,step,train_loss\n0,49,0.5\n2,149,0.25\n")
    assert one is not None
    assert (one.number, one.first, one.form, one.run_step) == (2, 0, Form.WITHIN, 150)
    assert metrics_csv(b"a,b\n1,2\n") is None


def test_the_state_of_a_hugging_face_trainer():
    one = trainer_state(
        json.dumps({"epoch": 1.5, "global_step": 150, "max_steps": 300, "num_train_epochs": 3}).encode()
    )
    assert one is not None
    assert (one.position, one.epochs, one.run_step) == (1.5, 3.0, 150)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b'{"epoch": 1}', b'{"epoch": -1, "global_step": 1}',
    b'{"epoch": NaN, "global_step": 1}', b'{"epoch": true, "global_step": 1}', b"[" * 100000])  # fmt: skip
def test_another_document_yields_nothing(data: bytes):
    assert trainer_state(data) is None


def test_tensorboard_scalars_give_the_position():
    hugging_face = progress_of(scalar("train/epoch", 1.25, 50))
    assert hugging_face is not None
    assert (hugging_face.position, hugging_face.run_step) == (1.25, 50)
    lightning = progress_of(scalar("epoch", 3.0, 50))
    assert lightning is not None
    assert (lightning.number, lightning.first, lightning.form) == (3, 0, Form.WITHIN)
    keras = progress_of(scalar("epoch_loss", None, 4))
    assert keras is not None
    assert (keras.number, keras.first, keras.form) == (4, 0, Form.END)
    other = progress_of(scalar("loss", 0.5, 812))
    assert other is not None
    assert (other.run_step, other.number) == (812, None)
    assert progress_of(b"\x09" + struct.pack("<d", 1.7e9) + b"\x1a\x0dbrain.Event:2") is None


def test_records_are_read_as_they_arrive_and_long_ones_are_skipped():
    data = record(b"one") + record(b"x" * (MAX_READ_BYTES + 1)) + record(b"two")
    assert records(data).data == (b"one", b"two")
    assert records(data[:-1]).data == (b"one",)
    incomplete = records(record(b"one") + struct.pack("<Q", MAX_READ_BYTES + 1) + b"crc_" + b"x" * 100)
    assert incomplete.consumed == len(record(b"one")) + MAX_READ_BYTES + 17
    with pytest.raises(NotRecordsError):
        records(b"\xff" * 20)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(
    [b"epoch", b",", b"\n", b"1", b"2.0", b'"', b"train/loss", b"step", b" ", b"\x00", b"\xff", b"-3", b"9" * 30, b"{", b"}"]  # noqa: E501
), max_size=40).map(b"".join)))  # fmt: skip
def test_the_parser_accepts_any_file(data: bytes):
    for parse in FILES.values():
        one = parse(data)
        assert one is None or isinstance(one, Progress)
        if one is not None:
            tracker = ProgressTracker(Plan(), START)
            tracker.take(one, START)
            tracker.finish(START)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=4))
def test_any_event_file_is_read_or_given_up(noise: bytes, at: int, change: bytes):
    good = record(scalar("train/epoch", 1.5, 7)) + record(scalar("epoch_loss", None, 2))
    for data in (noise, record(noise), good[:at] + change + good[at + len(change) :]):
        try:
            parser = records(data)
        except NotRecordsError:
            continue
        for one in map(progress_of, parser.data):
            assert one is None or isinstance(one, Progress)


def test_only_what_was_written_since_is_read_and_only_what_is_new(tmp_path: Path):
    old = tmp_path / "old" / "results.csv"
    old.parent.mkdir()
    old.write_text("epoch,train/loss\n1,0.5\n")
    os.utime(old, (1, 1))
    events = tmp_path / "runs" / "a" / "events.out.tfevents.1.host"
    events.parent.mkdir(parents=True)
    events.write_bytes(record(scalar("train/epoch", 0.5, 1)))
    watch = FileTailer(tmp_path, (), since_ns=10**15)
    assert [one.position for one in watch.look()] == [0.5]
    assert watch.look() == []
    with events.open("ab") as file:
        file.write(record(scalar("train/epoch", 1.0, 2)) + record(b"half")[:9])
    assert [one.position for one in watch.look()] == [1.0]
    old.write_text("epoch,train/loss\n1,0.5\n2,0.5\n")
    assert [one.number for one in watch.look()] == [2]


def test_a_configured_file_is_read_wherever_it_is(tmp_path: Path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("epoch,step\n0,9\n")
    watch = FileTailer(None, (str(tmp_path / "*" / "metrics.csv"), str(tmp_path / "missing")), 0)
    assert [one.run_step for one in watch.look()] == [10, 10]


def test_a_long_table_is_read_at_its_ends(tmp_path: Path):
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,loss\n" + "".join(f"{n // 1000},{n},{'0' * 60}\n" for n in range(20_000)))
    (one,) = FileTailer(tmp_path, (), 0).look()
    assert (one.number, one.run_step) == (19, 20_000)


def test_the_search_in_a_data_set_of_many_files_is_bounded(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    for n in range(MAX_ENTRIES + 10):
        (data / str(n)).touch()
    assert FileTailer(tmp_path, (), 0).look() == []


def test_an_unreadable_file_yields_nothing(tmp_path: Path):
    (tmp_path / "results.csv").mkdir()
    (tmp_path / "metrics.csv").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "trainer_state.json")
    (tmp_path / "events.out.tfevents.1").write_bytes(b"\xff" * 100)
    watch = FileTailer(tmp_path, (str(tmp_path / "results.csv"), str(tmp_path / "*.json")), 0)
    assert watch.look() == []
    assert watch.look() == []
