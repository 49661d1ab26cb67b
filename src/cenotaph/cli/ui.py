"""What a person sees, and what a script reads: stdout is data, stderr is progress and errors."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

QUIET_SECONDS = 2.0


class Progress:
    """A line on a terminal's stderr with time left, once something takes longer than two seconds.

    Off a terminal nothing is drawn; a piped stderr gets one line a finished task.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._started = time.monotonic()
        self._drawn = False
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what, self._started = what, time.monotonic()
        spent = time.monotonic() - self._started
        if not sys.stderr.isatty() or (spent < QUIET_SECONDS and not self._drawn):
            return
        left = spent / done * (total - done) if done else 0.0
        line = f"{self._label}: {done:,} of {total:,} {what}, {_duration(left)} left"
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
        self._drawn = True

    def end(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
