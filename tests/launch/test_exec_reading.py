"""From printed lines to the position of the run: every format, recorded output of real tools, and arbitrary bytes."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochcost.launch.moment import Moment
from epochcost.launch.reading.line_reader import LineReader
from epochcost.launch.reading.lines import MAX_LINE_BYTES, Lines
from epochcost.launch.reading.patterns import OwnPatterns, own_rows
from epochcost.launch.reading.program_rows import RowError, programs, rows_of
from epochcost.launch.reading.progress import Form, Progress, Trust, plain
from epochcost.launch.reading.progress_snapshot import Plan, ProgressSnapshot
from epochcost.launch.reading.progress_tracker import ProgressTracker

RECORDED = Path(__file__).parent / "recorded"


def parse(line: bytes) -> Progress | None:
    return LineReader().parse(line)


def follow(
    text: str | bytes,
    plan: Plan = Plan(),  # noqa: B008 - frozen
    own: OwnPatterns | None = None,
) -> tuple[list[ProgressSnapshot], ProgressTracker]:
    """Each line a second after the one before."""
    reader, tracker = LineReader(own), ProgressTracker(plan, Moment(0.0, 0.0))
    data = text.encode() if isinstance(text, str) else text
    news: list[ProgressSnapshot] = []
    now = 0.0
    for line, _ in Lines().each(data + b"\n"):
        now += 1.0
        if line and (progress := reader.parse(line)) is not None:
            tracker.take(progress, Moment(now, now), line)
            news += tracker.news(Moment(now, now))
    return [*news, *tracker.finish(Moment(now + 1, now + 1))], tracker


def epochs_ended(text: str | bytes, plan: Plan = Plan(), own: OwnPatterns | None = None) -> list[int]:  # noqa: B008
    return [snapshot.ended for snapshot in follow(text, plan, own)[0] if snapshot.ended is not None]


# Single lines


@pytest.mark.parametrize(("line", "expected"), [
    ("Epoch 3/10", (Form.HEAD, 3, 10, None, None)),
    ("120/469 [======>.......................] - ETA: 3s - loss: 0.4", (Form.INNER, None, None, 120, 469)),
    ("\x1b[1m120/469\x1b[0m \x1b[32m━━━━\x1b[0m\x1b[37m━━━━\x1b[0m \x1b[1m3s\x1b[0m 5ms/step", (Form.INNER, None, None, 120, 469)),  # noqa: E501
    ("469/469 - 3s - 6ms/step - loss: 0.3", (Form.INNER, None, None, 469, 469)),
    ("   12/Unknown \x1b[1m3s\x1b[0m 5ms/step", (Form.INNER, None, None, 12, None)),
    ("Epoch 3:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s, v_num=0, loss=1.2]", (Form.WITHIN, 3, None, 45, 100)),
    ("Epoch 3: |          | 45/? [00:04<00:00,  9.98it/s, v_num=0]", (Form.WITHIN, 3, None, 45, None)),
    ("Epoch 3: 45it [00:04,  9.98it/s]", (Form.WITHIN, 3, None, 45, None)),
    ("Epoch 3/10:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]", (Form.WITHIN, 3, 10, 45, 100)),
    ("train epoch 3 of 10 loss 0.3:  45%|####5     | 45/100 [00:04<00:05,  1.2s/it]", (Form.WITHIN, 3, 10, 45, 100)),
    ("[epoch: 4]:   0%|          | 0/100 [00:00<?, ?it/s]", (Form.WITHIN, 4, None, 0, 100)),
    ("  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]", (Form.INNER, None, None, 45, 100)),
    ("Training:  45%|████▌     | 45/100 [00:04<00:05,  9.98batch/s]", (Form.INNER, None, None, 45, 100)),
    ("Epoch 3/10 ━━━━━━━╸━━━━━━━━ 45/100 0:00:04", (Form.WITHIN, 3, 10, 45, 100)),
])  # fmt: skip
def test_a_line_of_the_general_reader(line: str, expected: tuple[object, ...]):
    progress = parse(line.encode())
    assert progress is not None
    assert (progress.form, progress.number, progress.epochs, progress.step, progress.steps) == expected
    assert not progress.evaluation
    assert Lines().cut(line.encode() + b"\r") == [line.encode()], "it is worth a look"


@pytest.mark.parametrize("row", programs(), ids=lambda row: row.name)
def test_each_row_of_a_known_program_reads_its_example(row):
    progress = parse(row.example.encode())
    assert row.pattern.search(row.example)
    assert row.has in row.example
    assert Lines().cut(row.example.encode() + b"\n") == [row.example.encode()], "it is worth a look"
    if row.form is not None:
        assert progress is not None
        assert (progress.source, progress.form, progress.trust) == (row.name.partition(".")[0], row.form, Trust.KNOWN)
        assert progress.evaluation == row.evaluation


@pytest.mark.parametrize("line", [
    "{'loss': 0.5, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': 1.23}",
    "{'loss': '0.5', 'grad_norm': '1.2', 'learning_rate': '1e-05', 'epoch': '1.23'}",
    "{'eval_loss': 0.5, 'eval_runtime': 2.0, 'epoch': 1.23}",
    "{'train_runtime': 9.1, 'train_loss': 0.1, 'epoch': 1.23}\x1b[A",
])  # fmt: skip
def test_the_log_of_hugging_face_has_the_position(line: str):
    progress = parse(line.encode())
    assert progress is not None
    assert (progress.source, progress.position) == ("huggingface", 1.23)


def test_megatron_logs_steps_and_samples_and_no_epoch():
    line = (
        " [2024-05-01 10:00:00] iteration      100/    1000 | consumed samples:        25600 | elapsed time per"
        " iteration (ms): 512.3 | learning rate: 1.0E-05 | global batch size:   256 | lm loss: 1.0E+01 |"
    )
    progress = parse(line.encode())
    assert progress is not None
    assert (progress.run_step, progress.run_steps, progress.samples, progress.batch_size, progress.number) == (
        100,
        1000,
        25600,
        256,
        None,
    )
    assert parse(b" iteration  100/ 1000 | consumed samples: 25600 |") is not None


@pytest.mark.parametrize("line", [
    "Validation DataLoader 0:  50%|█████     | 5/10 [00:00<00:00, 99.0it/s]",
    "Sanity Checking DataLoader 0:  50%|█████     | 1/2 [00:00<00:00, 99.0it/s]",
    "Epoch 3/10 [val]:  50%|█████     | 5/10 [00:00<00:00, 99.0it/s]",
    "Evaluating epoch 3:  50%|█████     | 5/10 [00:00<00:00, 99.0it/s]",
    "Evaluating:  50%|█████     | 5/10 [00:00<00:00, 99.0it/s]",
    "test:  50%|█████     | 5/10 [00:00<00:00, 99.0it/s]",
    "Map:  50%|█████     | 500/1000 [00:00<00:00, 9900.0 examples/s]",
    "Loading checkpoint shards:  50%|█████     | 1/2 [00:00<00:00, 99.0it/s]",
    "model.safetensors:  50%|█████     | 1.2G/2.4G [00:30<00:30, 40.0MB/s]",
    "  50%|█████     | 1200/2400 [00:30<00:30, 40.0kB/s]",
    "Downloading:  50%|█████     | 5/10 [00:00<00:00, 99.0it/s]",
    "                 Class     Images  Instances      Box(P          R      mAP50):  50%|█████     | 5/10 [00:04<00:05]",  # noqa: E501
    "https://example.com/1/2/3",
    "2024/05/01 12:00:00 Epoch time",
    "Downloading 3/10",
    "{'epoch': 'abc'}",
    "{'epoch': nan}",
    "{'epoch': -1}",
    "{'lr': 0.1, 'epoch': 100}",
])  # fmt: skip
def test_other_output_is_not_mistaken_for_training(line: str):
    progress = parse(line.encode())
    assert progress is None or progress.evaluation


# Recorded output of real tools


@pytest.mark.parametrize(("name", "ends", "steps"), [
    ("tqdm_numbered", 3, 30), ("tqdm_nested", 3, None), ("tqdm_loose", 0, None),
    ("keras_pipe", 3, 16), ("keras_terminal", 3, 16), ("keras_verbose_2", 3, 16), ("rich_rows", 2, 20),
])  # fmt: skip
def test_recorded_output_gives_its_epochs(name: str, ends: int, steps: int | None):
    data = (RECORDED / f"{name}.out").read_bytes()
    snapshots, _ = follow(data)
    assert [snapshot.ended for snapshot in snapshots if snapshot.ended] == list(range(1, ends + 1))
    positions = [snapshot.epoch for snapshot in snapshots if snapshot.epoch is not None]
    assert positions == sorted(positions)
    if ends:
        assert positions[-1] == ends
    if steps is not None:
        assert [snapshot.step for snapshot in snapshots if snapshot.step][-1] == ends * steps


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.out")))
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_however_the_output_is_cut_the_lines_are_the_same(name: str, size: int):
    data = (RECORDED / f"{name}.out").read_bytes() + b"\n"
    lines = Lines()
    lines_found = [line for begin in range(0, len(data), size) for line in lines.cut(data[begin : begin + size])]
    assert lines_found == Lines().cut(data)


# Their interpretation


def bars(*steps: tuple[int, int], shown_total: str = "") -> str:
    return "\r".join(f"{shown_total}{100 * n // total}%|##| {n}/{total} [00:01<00:00, 9.98it/s]" for n, total in steps)


def test_a_bar_without_a_name_is_ignored():
    assert follow(bars((0, 10), (10, 10), (0, 10), (10, 10), (0, 10), (10, 10)))[0] == []


def test_a_bar_may_be_declared():
    assert epochs_ended(bars((0, 10), (10, 10)), Plan(bar="epoch")) == [1]
    assert epochs_ended(bars((0, 300), (100, 300), (200, 300), (300, 300)), Plan(epochs=3, bar="run")) == [1, 2, 3]
    assert follow(bars((0, 10), (10, 10)), Plan(bar="nothing"))[0] == []


def test_of_several_declared_bars_the_longest_is_the_training():
    one = ((0, 50), (50, 50), (0, 8), (8, 8))
    assert epochs_ended(bars(*one, *one, *one), Plan(bar="epoch")) == [1, 2, 3]


def test_an_epoch_that_the_bar_names_counts_from_0_or_1_as_it_shows():
    for first in (0, 1):
        text = "\n".join(bars((0, 4), (4, 4), shown_total=f"Epoch {n}: ") for n in range(first, first + 3))
        assert epochs_ended(text) == [1, 2, 3]


def test_a_bar_that_vanishes_before_it_is_full_is_ended_by_the_next():
    text = bars((0, 4), (3, 4), shown_total="Epoch 1/2: ") + "\r" + bars((0, 4), (3, 4), shown_total="Epoch 2/2: ")
    assert epochs_ended(text) == [1, 2]  # the last one by the command's good end


def test_a_resumed_run_does_not_count_earlier_epochs():
    assert epochs_ended("Epoch 6/8\nEpoch 7/8\n") == [6, 7]
    assert epochs_ended(
        "{'loss': 1.0, 'learning_rate': 1.0, 'epoch': 5.2}\n{'loss': 1.0, 'learning_rate': 1.0, 'epoch': 6.1}\n"
    ) == [6]


def test_fits_one_after_the_other_are_segments_of_one_run():
    fit = "Epoch 1/2\n1/4 - 3s - loss: 1\n4/4 - 3s - loss: 1\nEpoch 2/2\n1/4 - 3s - loss: 1\n4/4 - 3s - loss: 1\n"
    assert epochs_ended(fit * 3) == [1, 2, 3, 4, 5, 6]
    assert [snapshot.epochs for snapshot in follow(fit * 3)[0]][-1] == 6
    once = "Epoch 1/1\n1/4 - 3s - loss: 1\n4/4 - 3s - loss: 1\n"
    assert epochs_ended(once * 3) == [1, 2, 3]


def test_an_evaluation_after_the_epochs_own_bar_is_not_another_epoch():
    assert epochs_ended("Epoch 1/2\n4/4 - 3s - loss: 1\n2/9 - 3s - loss: 1\n9/9 - 3s - loss: 1\n") == []
    assert follow("9/9 - 3s - loss: 1\n")[0] == []


def test_log_lines_that_are_rarer_than_epochs_end_several_at_once():
    one = "{'loss': 1.0, 'learning_rate': 1.0, 'epoch': %s}\n"
    assert epochs_ended(one % "1.0" + one % "3.0") == [1, 3]


def test_figures_that_contradict_a_better_source_are_retracted():
    """Bars called training, of which one makes five passes beside a log with one epoch."""
    log = "{'loss': 1.0, 'learning_rate': 1.0, 'epoch': 0.%d}\n"
    text = "".join(bars((1, 9), (5, 9), (9, 9), shown_total="Training: ") + "\n" for n in range(6)) + log % 2
    text += "".join(bars((1, 9), (5, 9), (9, 9), shown_total="Training: ") + "\n" + log % n for n in (3, 4))
    snapshots, tracker = follow(text)
    assert [snapshot.retract for snapshot in snapshots].count(True) == 1
    after = snapshots[[snapshot.retract for snapshot in snapshots].index(True) :]
    assert [snapshot.ended for snapshot in after if snapshot.ended] == []
    assert after[-1].epoch == 0.4
    assert tracker.source == "huggingface"


def test_steps_become_epochs_with_a_plan():
    text = "".join(f" iteration {n}/ 400 | consumed samples: {n * 8} |\n" for n in range(50, 401, 50))
    assert epochs_ended(text, Plan(steps_per_epoch=100)) == [1, 2, 3, 4]
    assert epochs_ended(text, Plan(samples_per_epoch=1600)) == [1, 2]
    snapshots, _ = follow(text)
    assert (snapshots[-1].step, snapshots[-1].samples, snapshots[-1].epoch) == (400, 3200, None)


def test_the_line_of_the_reference_program():
    text = "".join(f"{n:6}: {e} [{n:5}/ 1326], train_loss=1.234\n" for e in range(2) for n in (0, 850, 1326))
    assert epochs_ended(text) == [1, 2]


# Custom patterns


def patterns(*several: str, first: int | None = None, files: tuple[str, ...] = ()) -> OwnPatterns:
    return OwnPatterns(own_rows(several, files, first))


def test_custom_patterns_yield_their_named_groups():
    own = patterns(r"pos=(?P<position>[\d.]+)", r"era (?P<epoch>\d+)/(?P<epochs>\d+) (?P<step>\d+):(?P<steps>\d+)")
    progress = own.parse(b"\x1b[31mera 3/9 12:50")
    assert progress is not None
    assert (progress.trust, progress.number, progress.epochs, progress.step, progress.steps) == (
        Trust.USER,
        3,
        9,
        12,
        50,
    )
    progress = own.parse(b"pos=2.5")
    assert progress is not None
    assert (progress.form, progress.position) == (Form.POSITION, 2.5)
    assert own.parse(b"pos=...") is None
    assert own.parse(b"nothing") is None


def test_a_pattern_for_finished_epochs_counts_from_0():
    own = patterns(r"(?P<finished>\d+) sweeps are done")
    assert epochs_ended("".join(f"{n} sweeps are done\n" for n in range(4)), own=own) == [1, 2, 3]


def test_the_number_of_the_first_epoch_is_configurable():
    text = "".join(f"era {n}\n" for n in (5, 6, 7))
    assert epochs_ended(text, own=patterns(r"era (?P<epoch>\d+)", first=0)) == [6, 7, 8]
    assert epochs_ended(text, own=patterns(r"era (?P<epoch>\d+)", first=1)) == [5, 6, 7]


def test_a_pattern_file_has_patterns_for_starts_ends_and_progress():
    file = """
[mine.end]
line = ^sweep (?P<epoch>\\d+) is over
form = end
first = 0

[mine.other]
line = ^proof
form = ignore
"""
    own = patterns(files=(file,))
    assert epochs_ended("sweep 0 is over\nproof\nsweep 1 is over\n", own=own) == [1, 2]


@pytest.mark.parametrize("file", [
    "line = x", "[a]\nline = (", "[a]\nform = end\nline = (?P<epoch>1)\nfrist = 1",
    "[a]\nline = (?P<epoch>1)\nform = never",
    "[a]\nline = (?P<epoch>1)\nfirst = 2", "[a]\nform = end", "[a]\nline = (?P<epoch>1)\n[a]\nline = x", "[a\n", "\x00",
])  # fmt: skip
def test_an_invalid_pattern_file_is_rejected(file: str):
    with pytest.raises(RowError):
        rows_of(file)


@pytest.mark.parametrize("pattern", ["(", "x", "(?P<epoc>1)", "(?P<epochs>1)", "a" * 2000, "(?P<epoch>"])
def test_an_invalid_pattern_is_rejected_by_name(pattern: str):
    with pytest.raises(RowError, match=re.escape(pattern[:30])):
        own_rows([pattern], [])


def test_a_pattern_that_takes_too_long_is_dropped_and_the_others_work():
    own = patterns("(x+x+)+(?P<step>y)", r"n(?P<step>\d+)")
    cpu_started_at = time.process_time()
    for number in (7, 8):
        progress = own.parse(b"n%d " % number + b"x" * 200)
        assert progress is not None
        assert progress.step == number
    assert time.process_time() - cpu_started_at < 1
    assert own.dropped == ["(x+x+)+(?P<step>y)"]


# Arbitrary input

TOKENS = st.sampled_from([
    b"Epoch ", b"epoch", b"1/2", b"9" * 30, b"3", b"/", b"|", b"%|", b"100%|", b"] [", b"[00:01<00:00, 9.98it/s]", b": ",  # noqa: E501
    b"\r", b"\n", b"\x08", b"\x1b[1m", b"\x1b[", b"\x1b]0;", b"\xe2\x96\x88" * 9, b" " * 30, b"{'epoch': ", b"}", b"1.5",  # noqa: E501
    b"-1", b"nan", b"1e400", b" iteration ", b"| consumed samples: ", b"2.51G ", b"640: ", b"?", b"Unknown", b"\xff\xfe",  # noqa: E501
    b"[=====>....]", b"it/s", b"\x00", b"\xd9\xa3", b" of ", b"v_num=0",
])  # fmt: skip
ANYTHING = st.one_of(st.binary(max_size=300), st.lists(TOKENS, max_size=40).map(b"".join))


@settings(max_examples=400, deadline=None)
@given(ANYTHING)
def test_the_reader_accepts_any_line(line: bytes):
    progress = parse(line)
    assert progress is None or isinstance(progress, Progress)
    assert len(plain(line)) <= len(line)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANYTHING, max_size=30), st.sampled_from(["auto", "epoch", "run", "nothing"]))
def test_for_any_output_the_position_never_falls_and_epochs_end_in_order(chunks: list[bytes], bar: str):
    lines, reader, tracker = Lines(), LineReader(), ProgressTracker(Plan(bar=bar), Moment(0.0, 0.0))
    news: list[ProgressSnapshot] = []
    for now, chunk in enumerate(chunks):
        at = Moment(now, now)
        for line in lines.cut(chunk):
            if (progress := reader.parse(line)) is not None:
                tracker.take(progress, at, line)
        news += tracker.news(at)
        assert len(lines.rest) <= MAX_LINE_BYTES
    news += tracker.finish(Moment(99.0, 99.0))
    for part in parts(news):
        positions = [one.epoch for one in part if one.epoch is not None]
        ends = [one.ended for one in part if one.ended is not None]
        assert positions == sorted(positions)
        assert all(one < other for one, other in pairwise(ends))


def parts(news: list[ProgressSnapshot]) -> list[list[ProgressSnapshot]]:
    """The snapshots between retractions."""
    between_retractions: list[list[ProgressSnapshot]] = [[]]
    for one in news:
        if one.retract:
            between_retractions.append([])
        else:
            between_retractions[-1].append(one)
    return between_retractions


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=900), st.lists(st.integers(0, 900), max_size=8))
def test_lines_do_not_depend_on_the_chunks_of_the_output(data: bytes, cuts: list[int]):
    at = [0, *sorted(min(position, len(data)) for position in cuts), len(data)]
    complete, pieces = Lines(every=True), Lines(every=True)
    apart = [line for begin, end in pairwise(at) for line in pieces.cut(data[begin:end])]
    assert apart == complete.cut(data)
    assert pieces.rest == complete.rest


@pytest.mark.parametrize(
    "unit",
    [
        b"1",
        b" ",
        b"1/1 ",
        b"Epoch 1",
        b"|",
        b"0%|",
        b"\x1b[",
        b"\x1b]",
        b":",
        b"{'epoch': 1",
        b"[",
        b"9/9 [",
        b"\xe2\x94\x81",
    ],
)
@pytest.mark.parametrize("head", [b"", b"Epoch 1/2 ", b"1/2 2.5G ", b" iteration 1/2 |", b"{", b"Epoch 1:"])
def test_no_line_takes_long(head: bytes, unit: bytes):
    line = (head + unit * MAX_LINE_BYTES)[:MAX_LINE_BYTES]
    cpu_started_at = time.process_time()
    for _ in range(20):
        parse(line)
    assert (time.process_time() - cpu_started_at) / 20 < 0.005


def test_every_line_below_a_table_header_is_parsed():
    data = b"one\n  epoch    train_loss     dur\n-------  ------------  ------\n      1        0.5  2.0\n"
    assert Lines().cut(data) == data.split(b"\n")[1:-1]


def test_a_line_parsed_unfinished_is_not_returned_again():
    lines = Lines()
    assert lines.cut(b"epoch 1 loss 1") == []
    assert lines.unfinished() == b"epoch 1 loss 1"
    assert lines.cut(b"\nepoch 2 loss 1\n") == [b"epoch 2 loss 1"]
    assert lines.cut(b"epoch 3") == []
    assert lines.unfinished() == b"epoch 3"
    assert lines.cut(b" loss 1\n") == [b"epoch 3 loss 1"]


def test_a_hundred_megabytes_without_an_end_of_line_are_not_kept():
    lines = Lines()
    for _ in range(1600):
        assert lines.cut(b"7/9 " * 16384) == []
    assert len(lines.rest) == MAX_LINE_BYTES
    assert lines.cut(b"\n") == [(b"7/9 " * 16384)[:MAX_LINE_BYTES]]


def test_in_a_flood_the_first_and_the_last_lines_are_read():
    lines = [b"Epoch %d/9999" % n for n in range(5000)]
    lines_read = Lines().cut(b"\n".join(lines) + b"\n")
    assert lines_read[0] == lines[0]
    assert lines_read[-1] == lines[-1]
    assert len(lines_read) < 100
