"""``python -m scripts.pin [--check]``: what the build takes from others, named by its digest.

A tag can be moved to something else, a digest cannot. Without ``--check`` every action of the workflows gets the commit
that its tag names now (``uses: OWNER/REPO@COMMIT # TAG``) and every image the digest of its tag
(``IMAGE:TAG@sha256:...``): that needs git, docker and the network. With it nothing is changed or asked: what still has
only a tag is named, and the exit code is 1. Dependabot (``.github/dependabot.yml``) moves both on from there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120.0
ACTION = re.compile(
    r"(?P<before>\buses: )(?P<name>[\w.-]+/[\w./-]+)@(?P<ref>[\w./-]+)(?:[ \t]+#[ \t]*(?P<tag>[\w./-]+))?"
)
IMAGE = re.compile(
    r"(?P<before>^FROM |^[ \t]+image: )(?P<name>[\w./-]+:[\w.-]+)(?P<digest>@sha256:[0-9a-f]{64})?(?=[ \t\n]|$)",
    re.MULTILINE,
)
COMMIT = re.compile(r"[0-9a-f]{40}")


class PinError(Exception):
    """A name could not be resolved; the text says why."""


def files(root: Path) -> Iterator[tuple[Path, re.Pattern[str]]]:
    """The files that name what others made, and how they name it."""
    for path in sorted((root / ".github" / "workflows").glob("*.yml")):
        yield path, ACTION
    for path in (root / "Dockerfile", root / "docker-compose.yml"):
        yield path, IMAGE


def unpinned(root: Path) -> list[str]:
    """What has only a tag: ``FILE: NAME``."""
    return [
        f"{path.relative_to(root)}: {match[0].strip()}"
        for path, pattern in files(root)
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
        if not _is_pinned(match)
    ]


def pinned(text: str, pattern: re.Pattern[str], digest_of: Callable[[str, str], str]) -> str:
    """``text`` with digests; ``digest_of`` tells that of a name and a tag (empty for an image, whose name has it)."""

    def one(match: re.Match[str]) -> str:
        if pattern is IMAGE:
            return f"{match['before']}{match['name']}@{digest_of(match['name'], '')}"
        tag = match["tag"] or match["ref"]
        return f"{match['before']}{match['name']}@{digest_of(match['name'], tag)} # {tag}"

    return pattern.sub(one, text)


def _is_pinned(match: re.Match[str]) -> bool:
    groups = match.groupdict()
    return bool(groups.get("digest")) or bool(COMMIT.fullmatch(groups.get("ref") or ""))


def resolved(name: str, tag: str) -> str:
    """The commit of an action's tag, or the digest of an image.

    Raises:
        PinError: when neither git nor docker can tell.
    """
    if not tag:
        digest = _output_of(
            "docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", name
        ).strip()
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise PinError(f"{name}: docker names no digest: {digest[:200]!r}")
        return digest
    address = f"https://github.com/{'/'.join(name.split('/')[:2])}"
    rows = [row.split("\t") for row in _output_of("git", "ls-remote", address, tag, f"{tag}^{{}}").splitlines()]
    commits = {ref: commit for commit, ref in rows}
    # A tag with a message is an object of its own, which names the commit; a branch does not pin anything.
    for ref in (f"refs/tags/{tag}^{{}}", f"refs/tags/{tag}", f"refs/heads/{tag}"):
        if COMMIT.fullmatch(commits.get(ref, "")):
            return commits[ref]
    raise PinError(f"{address} has no {tag}")


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except FileNotFoundError:
        raise PinError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise PinError(f"{' '.join(command)}: no answer within {SECONDS:g} s") from None
    except subprocess.CalledProcessError as err:
        raise PinError(f"{' '.join(command)}: {err.stderr.strip()[:300]}") from None
    return done.stdout


def main(root: Path = ROOT) -> int:
    """0 when everything is pinned (now)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; name what has only a tag")
    if not parser.parse_args().check:
        try:
            new = {path: pinned(path.read_text(encoding="utf-8"), pattern, resolved) for path, pattern in files(root)}
        except PinError as err:
            sys.stderr.write(f"nothing was changed: {err}\n")
            return 2
        for path, text in new.items():
            path.write_text(text, encoding="utf-8")
    left = unpinned(root)
    for name in left:
        sys.stderr.write(f"{name} has a tag and no digest: python -m scripts.pin\n")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
