"""What a person sees, and what a script reads: stdout is data, stderr is progress and errors."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

QUIET_SECONDS = 2.0
PLAIN_SECONDS = 10.0


class Progress:
    """How far something is and how long it still takes, on stderr, once it takes longer than two seconds.

    On a terminal one line, drawn again; off a terminal a plain line every ten seconds at most.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._what = ""
        self._started = self._said = time.monotonic()
        self._drawn = False

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._started, self._said = what, now, now
        left = (now - self._started) / done * (total - done) if done else 0.0
        line = f"{self._label}: {done:,} of {total:,} {what}, {_duration(left)} left"
        if not sys.stderr.isatty():
            self._plain(line, now)
        elif self._drawn or now - self._started > QUIET_SECONDS:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            self._drawn = True

    def end(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    def _plain(self, line: str, now: float) -> None:
        if now - self._said > PLAIN_SECONDS:
            print(line, file=sys.stderr, flush=True)
            self._said = now


def result(value: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """Print what a command learned: words for a person, or one JSON object on the last line."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False))
    else:
        for line in lines:
            print(line)


def fail(message: str, hint: str | None) -> None:
    """Print an error on stderr, and what to do next."""
    print(f"cenotaph: error: {message}", file=sys.stderr)
    if hint:
        print(f"cenotaph: hint: {hint}", file=sys.stderr)


def warn(message: str) -> None:
    """Print on stderr what went on all the same, and somebody should know."""
    print(f"cenotaph: note: {message}", file=sys.stderr)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
