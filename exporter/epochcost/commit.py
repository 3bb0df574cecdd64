"""Which commit this installation was built from, as far as that is known."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parents[1]


def commit() -> str:
    """As the build wrote it, else as git knows it in a checkout; empty if neither does."""
    try:
        return (PACKAGE / "_commit.txt").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return _of_checkout()


def _of_checkout() -> str:
    if not ((CHECKOUT / ".git").exists() and (CHECKOUT / "exporter" / "epochcost").samefile(PACKAGE)):
        return ""
    import subprocess

    command = ["git", "-C", str(CHECKOUT), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_line(version: str) -> str:
    """``epochcost 0.1.0 (commit 0123456789ab)``; without the commit where it is not known."""
    revision = commit()
    return f"epochcost {version}" + (f" (commit {revision})" if revision else "")
