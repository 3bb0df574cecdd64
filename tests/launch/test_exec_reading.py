"""From printed lines to where the run stands: every format, recorded output of the real tools, and anything at all."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochcost.launch.reading.formats import FORMATS, parse
from epochcost.launch.reading.lines import MAX_LINE_BYTES, Lines
from epochcost.launch.reading.patterns import OwnPatterns, PatternError, compiled
from epochcost.launch.reading.progress import Progress, Rank, plain
from epochcost.launch.reading.progress_tracker import Plan, ProgressSnapshot, ProgressTracker

RECORDED = Path(__file__).parent / "recorded"


def follow(text: str | bytes, plan: Plan = Plan()) -> tuple[list[ProgressSnapshot], ProgressTracker]:  # noqa: B008 - frozen
    course = ProgressTracker(plan)
    data = text.encode() if isinstance(text, str) else text
    said = [parse(line) for line in Lines().cut(data + b"\n")]
    stands = [course.take(one) for one in said if one is not None]
    if (last := course.finish()) is not None:
        stands.append(last)
    return [stand for stand in stands if stand is not None], course


def ended(text: str | bytes, plan: Plan = Plan()) -> list[int]:  # noqa: B008
    return [stand.ended for stand in follow(text, plan)[0] if stand.ended is not None]


# Single lines


@pytest.mark.parametrize(("line", "expected"), [
    ("Epoch 3/10", ("keras", 3, 10, 0, None)),
    ("120/469 [======>.......................] - ETA: 3s - loss: 0.4", ("keras", None, None, 120, 469)),
    ("\x1b[1m120/469\x1b[0m \x1b[32m━━━━\x1b[0m\x1b[37m━━━━\x1b[0m \x1b[1m3s\x1b[0m 5ms/step", ("keras", None, None, 120, 469)),  # noqa: E501
    ("469/469 - 3s - 6ms/step - loss: 0.3", ("keras", None, None, 469, 469)),
    ("   12/Unknown \x1b[1m3s\x1b[0m 5ms/step", ("keras", None, None, 12, None)),
    ("Epoch 3:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s, v_num=0, loss=1.2]", ("lightning", 3, None, 45, 100)),
    ("Epoch 3: |          | 45/? [00:04<00:00,  9.98it/s, v_num=0]", ("lightning", 3, None, 45, None)),
    ("Epoch 3/9  ━━━━━━╸━━━━ 45/100 0:00:04 • 0:00:05 9.98it/s", ("lightning", 3, 10, 45, 100)),
    ("Epoch 3/10:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]", ("tqdm", 3, 10, 45, 100)),
    ("train epoch 3 of 10 loss 0.3:  45%|####5     | 45/100 [00:04<00:05,  1.2s/it]", ("tqdm", 3, 10, 45, 100)),
    ("[epoch: 4]:   0%|          | 0/100 [00:00<?, ?it/s]", ("tqdm", 4, None, 0, 100)),
    ("  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]", ("bar", None, None, 45, 100)),
    ("Training:  45%|████▌     | 45/100 [00:04<00:05,  9.98batch/s]", ("bar", None, None, 45, 100)),
    ("      3/100      2.51G      1.155      3.072      1.252         28        640:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]",  # noqa: E501
     ("ultralytics", 3, 100, 45, 100)),
    ("\x1b[K      3/100      2.51G      1.155      3.072      1.252         28        640: 45% ━━━━━─────── 45/100 9.9it/s 4.5s<5.5s",  # noqa: E501
     ("ultralytics", 3, 100, 45, 100)),
    ("   850: 3 [  850/ 1326], train_loss=1.234", ("numbered", 3, None, 850, 1326)),
])  # fmt: skip
def test_a_line_of_each_format(line: str, expected: tuple[object, ...]):
    said = parse(line.encode())
    assert said is not None
    assert (said.source, said.number, said.epochs, said.step, said.steps) == expected
    assert Lines().cut(line.encode() + b"\r") == [line.encode()], "it is worth a look"


@pytest.mark.parametrize("line", [
    "{'loss': 0.5, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': 1.23}",
    "{'loss': '0.5', 'epoch': '1.23'}",
    "{'eval_loss': 0.5, 'eval_runtime': 2.0, 'epoch': 1.23}",
    "{'train_runtime': 9.1, 'train_loss': 0.1, 'epoch': 1.23}\x1b[A",
])  # fmt: skip
def test_the_log_of_hugging_face_says_the_position(line: str):
    said = parse(line.encode())
    assert said is not None
    assert (said.source, said.position) == ("huggingface", 1.23)


def test_megatron_says_steps_and_samples_and_no_epoch():
    line = (
        " [2024-05-01 10:00:00] iteration      100/    1000 | consumed samples:        25600 | elapsed time per"
        " iteration (ms): 512.3 | learning rate: 1.0E-05 | global batch size:   256 | lm loss: 1.0E+01 |"
    )
    said = parse(line.encode())
    assert said is not None
    assert (said.run_step, said.run_steps, said.samples, said.batch_size, said.number) == (100, 1000, 25600, 256, None)
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
    "Epoch 3/10 done",
])  # fmt: skip
def test_what_is_not_training_is_not_taken_for_it(line: str):
    assert parse(line.encode()) is None


# Recorded output of real tools


@pytest.mark.parametrize(("name", "epochs", "steps"), [
    ("tqdm_numbered", 3, 30), ("tqdm_nested", 3, None), ("tqdm_loose", 3, None),
    ("keras_pipe", 3, 16), ("keras_terminal", 3, 16), ("keras_verbose_2", 3, 16), ("rich_rows", 2, 20),
])  # fmt: skip
def test_recorded_output_gives_its_epochs(name: str, epochs: int, steps: int | None):
    data = (RECORDED / f"{name}.out").read_bytes()
    stands, course = follow(data)
    assert [stand.ended for stand in stands if stand.ended] == list(range(1, epochs + 1))
    assert course.position == epochs
    positions = [stand.epoch for stand in stands if stand.epoch is not None]
    assert positions == sorted(positions)
    if steps is not None:
        assert {stand.steps for stand in stands if stand.steps} == {steps}
        assert stands[-1].step == epochs * steps


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.out")))
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_however_the_output_is_cut_the_epochs_are_the_same(name: str, size: int):
    data = (RECORDED / f"{name}.out").read_bytes() + b"\n"
    lines, course = Lines(), ProgressTracker(Plan())
    found: list[int] = []
    for begin in range(0, len(data), size):
        for line in lines.cut(data[begin : begin + size]):
            said = parse(line)
            stand = course.take(said) if said else None
            if stand is not None and stand.ended:
                found.append(stand.ended)
    assert found == ended(data)


# What is made of them


def bars(*steps: tuple[int, int], told: str = "") -> str:
    return "\r".join(f"{told}{100 * n // total}%|##| {n}/{total} [00:01<00:00, 9.98it/s]" for n, total in steps)


def test_a_loose_bar_is_steps_until_it_begins_again():
    assert ended(bars((0, 10), (5, 10), (10, 10))) == []
    assert follow(bars((0, 10), (5, 10)))[0][-1].step == 5
    assert ended(bars((0, 10), (10, 10), (0, 10), (10, 10))) == [1, 2]
    assert follow(bars((0, 10), (10, 10), (0, 10), (4, 10)))[0][-1] == ProgressSnapshot(epoch=1.4, step=14)


def test_of_several_loose_bars_the_longest_that_repeats_is_the_training():
    one = ((0, 50), (50, 50), (0, 8), (8, 8))
    assert ended(bars((0, 500), (500, 500), *one, *one, *one)) == [1, 2, 3]


def test_a_bar_may_be_declared():
    assert ended(bars((0, 10), (10, 10)), Plan(bar="epoch")) == [1]
    assert ended(bars((0, 300), (100, 300), (200, 300), (300, 300)), Plan(epochs=3, bar="run")) == [1, 2, 3]
    assert follow(bars((0, 10), (10, 10)), Plan(bar="nothing"))[0] == []


def test_an_epoch_that_the_bar_names_counts_from_0_or_1_as_it_shows():
    for first in (0, 1):
        text = "\n".join(bars((0, 4), (4, 4), told=f"Epoch {n}: ") for n in range(first, first + 3))
        assert ended(text) == [1, 2, 3]


def test_a_bar_that_vanishes_before_it_is_full_is_ended_by_the_next():
    text = bars((0, 4), (3, 4), told="Epoch 1/2: ") + "\r" + bars((0, 4), (3, 4), told="Epoch 2/2: ")
    assert ended(text) == [1, 2]  # the last one by the command's good end


def test_a_resumed_run_does_not_count_what_others_did():
    assert ended("Epoch 6/8\nEpoch 7/8\n") == [6]
    assert ended("{'epoch': 5.2}\n{'epoch': 6.1}\n") == [6]


def test_fits_one_after_the_other_are_segments_of_one_run():
    fit = "Epoch 1/2\n4/4 - 3s - loss: 1\nEpoch 2/2\n4/4 - 3s - loss: 1\n"
    assert ended(fit * 3) == [1, 2, 3, 4, 5, 6]
    assert follow(fit * 3)[1].epochs == 6
    once = "Epoch 1/1\n4/4 - 3s - loss: 1\n"
    assert ended(once * 3) == [1, 2, 3]


def test_an_evaluation_after_the_epochs_own_bar_is_not_another_epoch():
    stands, course = follow("Epoch 1/2\n4/4 - 3s - loss: 1\n2/9 - 3s - loss: 1\n9/9 - 3s - loss: 1\n")
    assert course.position == 1
    assert [stand.ended for stand in stands if stand.ended] == [1]
    assert follow("9/9 - 3s - loss: 1\n")[0] == []


def test_log_lines_that_are_rarer_than_epochs_end_several_at_once():
    assert ended("{'epoch': 1.0}\n{'epoch': 3.0}\n") == [1, 3]


def test_a_better_source_takes_over_and_none_goes_back():
    text = bars((0, 900), (300, 900)) + "\n{'epoch': 0.5}\n" + bars((400, 900)) + "\n{'epoch': 1.0}\nEpoch 7/9\n"
    stands, course = follow(text)
    assert course.source == "huggingface"
    assert [stand.ended for stand in stands if stand.ended] == [1]


def test_steps_become_epochs_where_the_plan_says_how_many():
    text = "".join(f" iteration {n}/ 400 | consumed samples: {n * 8} |\n" for n in range(50, 401, 50))
    assert ended(text, Plan(steps_per_epoch=100)) == [1, 2, 3, 4]
    assert ended(text, Plan(samples_per_epoch=1600)) == [1, 2]
    stands, _ = follow(text)
    assert (stands[-1].step, stands[-1].samples, stands[-1].epoch) == (400, 3200, None)


def test_the_line_of_the_reference_program():
    text = "".join(f"{n:6}: {e} [{n:5}/ 1326], train_loss=1.234\n" for e in range(2) for n in (0, 850, 1326))
    assert ended(text) == [1, 2]


# Own patterns


def test_own_patterns_say_what_their_groups_are_called():
    own = OwnPatterns([r"pos=(?P<position>[\d.]+)", r"era (?P<epoch>\d+)/(?P<epochs>\d+) (?P<step>\d+):(?P<steps>\d+)"])
    assert own.parse(b"\x1b[31mera 3/9 12:50") == Progress("pattern", Rank.TOLD, number=3, epochs=9, step=12, steps=50)
    assert own.parse(b"pos=2.5") == Progress("pattern", Rank.TOLD, position=2.5)
    assert own.parse(b"pos=...") is None
    assert own.parse(b"nothing") is None


@pytest.mark.parametrize("pattern", ["(", "x", "(?P<epoc>1)", "(?P<epochs>1)", "a" * 2000, "(?P<epoch>"])
def test_a_pattern_that_cannot_work_is_refused_by_name(pattern: str):
    with pytest.raises(PatternError, match=re.escape(pattern[:30])):
        compiled(pattern)


def test_a_pattern_that_takes_too_long_is_dropped_and_the_others_work():
    own = OwnPatterns(["(x+x+)+(?P<step>y)", r"n(?P<step>\d+)"])
    begun = time.process_time()
    assert own.parse(b"n7 " + b"x" * 200) == Progress("pattern", Rank.TOLD, step=7)
    assert own.parse(b"n8 " + b"x" * 200) == Progress("pattern", Rank.TOLD, step=8)
    assert time.process_time() - begun < 1
    assert own.dropped == ["(x+x+)+(?P<step>y)"]


# Anything at all

TOKENS = st.sampled_from([
    b"Epoch ", b"epoch", b"1/2", b"9" * 30, b"3", b"/", b"|", b"%|", b"100%|", b"] [", b"[00:01<00:00, 9.98it/s]", b": ",  # noqa: E501
    b"\r", b"\n", b"\x08", b"\x1b[1m", b"\x1b[", b"\x1b]0;", b"\xe2\x96\x88" * 9, b" " * 30, b"{'epoch': ", b"}", b"1.5",  # noqa: E501
    b"-1", b"nan", b"1e400", b" iteration ", b"| consumed samples: ", b"2.51G ", b"640: ", b"?", b"Unknown", b"\xff\xfe",  # noqa: E501
    b"[=====>....]", b"it/s", b"\x00", b"\xd9\xa3", b" of ", b"v_num=0",
])  # fmt: skip
ANYTHING = st.one_of(st.binary(max_size=300), st.lists(TOKENS, max_size=40).map(b"".join))


@settings(max_examples=400, deadline=None)
@given(ANYTHING)
def test_whatever_the_line_every_parser_answers(line: bytes):
    for known in FORMATS:
        said = known(line)
        assert said is None or isinstance(said, Progress)
    assert len(plain(line)) <= len(line)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANYTHING, max_size=30), st.sampled_from(["auto", "epoch", "run", "nothing"]))
def test_whatever_is_printed_the_position_never_goes_back_and_epochs_end_in_order(chunks: list[bytes], bar: str):
    course, lines = ProgressTracker(Plan(bar=bar)), Lines()
    positions: list[float] = []
    ends: list[int] = []
    for chunk in chunks:
        for line in lines.cut(chunk):
            said = parse(line)
            stand = course.take(said) if said else None
            positions += [stand.epoch] if stand is not None and stand.epoch is not None else []
            ends += [stand.ended] if stand is not None and stand.ended is not None else []
        assert len(lines.rest) <= MAX_LINE_BYTES
    assert positions == sorted(positions)
    assert all(one < other for one, other in pairwise(ends))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=900), st.lists(st.integers(0, 900), max_size=8))
def test_lines_do_not_depend_on_how_the_output_comes(data: bytes, cuts: list[int]):
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole, pieces = Lines(every=True), Lines(every=True)
    apart = [line for begin, end in pairwise(at) for line in pieces.cut(data[begin:end])]
    assert apart == whole.cut(data)
    assert pieces.rest == whole.rest


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
    begun = time.perf_counter()
    for _ in range(20):
        parse(line)
    assert (time.perf_counter() - begun) / 20 < 0.005


def test_a_hundred_megabytes_without_an_end_of_line_are_not_kept():
    lines = Lines()
    for _ in range(1600):
        assert lines.cut(b"7/9 " * 16384) == []
    assert len(lines.rest) == MAX_LINE_BYTES
    assert lines.cut(b"\n") == [(b"7/9 " * 16384)[:MAX_LINE_BYTES]]


def test_of_a_flood_the_first_and_the_last_lines_are_read():
    lines = [b"Epoch %d/9999" % n for n in range(5000)]
    found = Lines().cut(b"\n".join(lines) + b"\n")
    assert found[0] == lines[0]
    assert found[-1] == lines[-1]
    assert len(found) < 100
