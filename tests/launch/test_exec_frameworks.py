"""Output of Keras, Lightning and the Trainer as they print it: three epochs count as three."""

from __future__ import annotations

from random import Random

import pytest
from tests.launch.played import EVALUATION, LENGTHS, N, Play, check, read_output


def keras(
    *, epochs: int = 3, verbose: int = 1, start: int = 0, predict: int = 0, play: Play | None = None, batches: int = N
) -> Play:
    play = play or Play()
    for e in range(start, epochs):
        play.out(f"Epoch {e + 1}/{epochs}")
        for b in play.batches(LENGTHS[e % 3], batches):
            if verbose == 1:
                drawn = f"\r\x1b[1m{b}/{batches}\x1b[0m \x1b[32m{'━' * (b // 2)}\x1b[0m "
                play.out(f"{drawn}\x1b[1m1s\x1b[0m 50ms/step - loss: 0.5", end="")
        play.end_training()
        play.nap(EVALUATION)
        play.out(f"\r{batches}/{batches} - 2s - 50ms/step - loss: 0.5 - val_loss: 0.4")
        play.end_epoch()
        for _ in range(predict):
            play.out("\r1/1 ━━━━━━━━━━━━━━━━━━━━ 0s 20ms/step")
    return play


@pytest.mark.parametrize("verbose", [1, 2])
def test_keras_with_other_operations(verbose: int):
    check(keras(verbose=verbose), {"epochs": 3, "step": 120}, terminal=False)
    check(keras(verbose=verbose, predict=3), {"epochs": 3, "step": 120}, terminal=True)
    check(keras(verbose=verbose, start=5, epochs=8), {"epochs": 8, "step": 320}, terminal=False, first=5)


def test_keras_stopped_early_counts_the_epochs_done():
    play = keras(epochs=2)
    replayed = Play()
    replayed.writes, replayed.true, replayed.now = (
        [(t, s, d.replace(b"/2\n", b"/10\n")) for t, s, d in play.writes],
        play.true,
        play.now,
    )
    replayed.out("Epoch 2: early stopping")
    check(replayed, {"epochs": 10, "step": 80}, terminal=False)


def test_fits_one_after_the_other_add_up():
    play = Play()
    for _ in range(3):
        keras(epochs=2, play=play)
        play.nap(0.3)
    check(play, {"epochs": 6}, terminal=False)


def test_a_training_of_another_framework_after_the_first_adds_up():
    play = keras(epochs=2)
    play.nap(0.5)
    for e in range(2):
        for b in play.batches(2.0):
            play.out(f"Train Epoch: {e + 1} step {b}/{N} loss 0.5")
        play.end_epoch()
    check(play, {}, terminal=False)


def lightning(*, epochs: int = 3, start: int = 0, logger: bool = True, play: Play | None = None) -> Play:
    play = play or Play()
    play.err("GPU available: False, used: False")
    play.err("\rSanity Checking: |          | 0/? [00:00<?, ?it/s]", end="")
    play.draw("Sanity Checking DataLoader 0", 2, 0.1)
    play.err("\rTraining: |          | 0/? [00:00<?, ?it/s]", end="")
    post = ""
    for e in range(start, epochs):
        play.err("\r" + play.bar(f"Epoch {e}", 0, N, post), end="")
        for b in play.batches(LENGTHS[e % 3]):
            play.err("\r" + play.bar(f"Epoch {e}", b, N, post), end="")
            post = ", v_num=3, train_loss=0.5" if logger else ", train_loss=0.5"
        play.end_training()
        for v in range(11):
            play.nap(EVALUATION / 11)
            play.err("\n\r" + play.bar("Validation DataLoader 0", v, 10) + "\x1b[A", end="")
        play.err("\r" + play.bar(f"Epoch {e}", N, N, post), end="")
        play.end_epoch()
        if e < epochs - 1:
            play.err("\r" + play.bar(f"Epoch {e}", 0, N, post), end="")  # emptied before it is renamed
    play.err(f"\n`Trainer.fit` stopped: `max_epochs={epochs}` reached.")
    return play


@pytest.mark.parametrize("logger", [True, False])
def test_lightning_counts_from_0_even_when_resumed(logger: bool):
    check(lightning(logger=logger), {"step": 120, "epochs": 3}, terminal=False)
    check(lightning(logger=logger, start=5, epochs=8), {"step": 320, "epochs": 8}, terminal=True, first=5)
    play = lightning(epochs=1, logger=logger)
    for _ in range(2):
        lightning(epochs=1, play=play, logger=logger)
    check(play, {"epochs": 3}, terminal=False)


def trainer(
    *,
    epochs: int = 3,
    every: int = 10,
    announce: bool = True,
    play: Play | None = None,
    start: int = 0,
    strings: bool = False,
    evaluated: bool = True,
) -> Play:
    play = play or Play()
    if announce:
        play.err(f"***** Running training *****\n  Num examples = 1,280\n  Num Epochs = {epochs}")
        play.err("  Total train batch size (w. parallel, distributed & accumulation) = 32")
        play.err(f"  Total optimization steps = {epochs * N}")
    show = (lambda d: str({key: f"{value:.4g}" for key, value in d.items()})) if strings else str
    play.err("\r" + play.bar("", start * N, epochs * N), end="")
    for e in range(start, epochs):
        for b in play.batches(LENGTHS[e % 3]):
            g = e * N + b
            if g % every == 0:
                play.out(show({"loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-5, "epoch": round(g / N, 2)}))
            play.err("\r" + play.bar("", g, epochs * N), end="")
        play.end_training()
        if evaluated:
            play.draw("", 10, EVALUATION)
            play.out(show({"eval_loss": 0.4, "eval_runtime": 0.4, "epoch": float(e + 1)}))
        play.end_epoch()
    play.out(show({"train_runtime": 9.1, "train_loss": 0.5, "epoch": float(epochs)}))
    return play


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("announce", [False, True])
def test_trainer_prints_its_position_and_its_bar_the_steps(announce: bool, strings: bool):
    for terminal in (False, True):
        check(trainer(announce=announce, strings=strings), {"epochs": 3, "step": 120}, terminal=terminal)
    check(trainer(announce=announce, every=1000, strings=strings), {"epochs": 3, "step": 120}, terminal=False)


@pytest.mark.parametrize("longest", [0.02, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("evaluated", [False, True])
def test_the_bar_counts_to_the_last_step_however_late_one_of_two_pipes_is_read(evaluated: bool, longest: float):
    for seed in range(40):
        play = trainer(announce=False, every=5, strings=True, evaluated=evaluated)
        late(play, longest, Random(seed))
        reading = read_output(play)
        assert reading.ends == [1, 2, 3]
        assert reading.last("step") == 120
        assert reading.last("epochs") == 3


def late(play: Play, longest: float, chance: Random) -> None:
    """Data of each pipe arrives in order, but sometimes later than it was written."""
    last_read = {1: 0.0, 2: 0.0}
    read = []
    for seconds, stream, data in play.writes:
        last_read[stream] = max(seconds + chance.choice((0.0, longest * chance.random())), last_read[stream] + 1e-6)
        read.append((last_read[stream], stream, data))
    play.writes[:] = sorted(read)
    play.now = max(play.now, *last_read.values())


def test_trainer_resumed_and_in_trials():
    check(trainer(start=5, epochs=8, announce=False), {"epochs": 8, "step": 320}, terminal=False, first=5)
    play = Play()
    for _ in range(3):
        trainer(epochs=2, play=play, announce=False)
    check(play, {"epochs": 6}, terminal=False)
    play = Play()
    for _ in range(3):
        trainer(epochs=1, play=play)
    check(play, {"epochs": 3}, terminal=False)
