"""In words: what was followed, what was left out and why, and which flag would make it right."""

from __future__ import annotations

from collections.abc import Iterator

from epochcost.launch.reading.epoch_track import EpochTrack
from epochcost.launch.reading.other_tracks import PassTrack, PositionTrack, StepsTrack
from epochcost.launch.reading.progress_snapshot import ProgressSnapshot
from epochcost.launch.reading.progress_tracker import ProgressTracker
from epochcost.launch.reading.track import Track

MOST_LEFT_OUT = 6
EXAMPLE = 90


def explain(tracker: ProgressTracker, last: ProgressSnapshot, epochs: int) -> list[str]:
    """Lines for people; ``last`` is what was reported last, ``epochs`` how many ends of epochs were."""
    leader = tracker.leader
    lines = [_position_read(tracker, last, epochs)]
    if leader is not None and leader.example:
        lines.append(f"followed: {leader.lines} lines like {_quoted(leader.example)}")
    others = _others(tracker, leader)
    lines += [
        f"left out: {one.lines} lines like {_quoted(one.example)}: {why_not(one, leader)}"
        for one in others[:MOST_LEFT_OUT]
    ]
    if len(others) > MOST_LEFT_OUT:
        lines.append(f"left out: {len(others) - MOST_LEFT_OUT} other kinds of lines")
    lines += _advice(tracker, last, epochs)
    return lines


def _others(tracker: ProgressTracker, leader: Track | None) -> list[Track]:
    """Tracks that are not followed, those with most lines first; of two that read the same lines, the one that can."""
    seen = set() if leader is None else {leader.example}
    sentences = []
    for one in sorted(tracker.tracks, key=lambda one: (-one.lines, bool(one.broken))):
        if one is not leader and (one.example not in seen or not one.example):
            seen.add(one.example)
            sentences.append(one)
    return sentences


def nothing_understood() -> str:
    """The line for a terminal where nothing was read at all."""
    return (
        "no progress was recognised in this output, so no epoch is counted; "
        "`epochcost exec --read LOG` shows why, and --pattern adds a format"
    )


def _position_read(tracker: ProgressTracker, last: ProgressSnapshot, epochs: int) -> str:
    parts = [f"{epochs} epoch{'' if epochs == 1 else 's'} reported"]
    if last.epochs is not None:
        parts.append(f"{last.epochs:g} planned")
    if not epochs and last.epoch is not None:
        parts.append(f"position {last.epoch:.2f}")
    if last.step is not None:
        parts.append(f"{last.step} steps" + (f" ({last.steps} per epoch)" if last.steps else ""))
    if last.samples is not None:
        parts.append(f"{last.samples} samples")
    if last.batch_size is not None:
        parts.append(f"batch size {last.batch_size}")
    source = f", from {tracker.source}" if tracker.source else ""
    return ", ".join(parts) + source


def why_not(track: Track, leader: Track | None) -> str:
    """Why ``track`` is not followed."""
    if track.broken or track.evaluation:
        return track.broken or "an evaluation"
    if track.confirmed and leader is not None:
        return "less specific than the lines that are followed"
    if isinstance(track, PassTrack):
        return "a bar that did not restart may be anything; set --bar epoch or --bar run"
    if isinstance(track, StepsTrack):
        return "steps that did not increase"
    if isinstance(track, PositionTrack):
        return "positions that did not increase steadily"
    return "the epoch number did not increase by one from line to line, or all lines came at once"


def _advice(tracker: ProgressTracker, last: ProgressSnapshot, epochs: int) -> Iterator[str]:
    if epochs:
        if last.epochs is None:
            yield "planned epochs are not printed: set them with --epochs N"
        leader = tracker.leader
        if isinstance(leader, EpochTrack) and leader.assumed:
            yield "whether the first epoch is 0 or 1 was never printed: 1 is assumed"
        return
    if isinstance(tracker.leader, StepsTrack):
        yield "only steps are printed: --steps-per-epoch N makes epochs of them"
    elif tracker.unnamed:
        yield (
            "progress bars without a name may be anything: --bar epoch (each is an epoch) or --bar run (the longest is"
            " the run, with --epochs N)"
        )
    elif tracker.leader is None and not tracker.tracks:
        yield "no line was understood: --pattern 'epoch (?P<epoch>\\d+)' teaches a format (docs/exec.md)"


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= EXAMPLE else text[: EXAMPLE - 3] + "...")
