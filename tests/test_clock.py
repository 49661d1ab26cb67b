"""The daily window in which anything may be destroyed."""

from __future__ import annotations

import pytest

from cenotaph.clock import inside, window

HOUR = 3600


@pytest.mark.parametrize(
    ("text", "hour", "good"),
    [
        ("22:00-06:00", 23, True),
        ("22:00-06:00", 5, True),
        ("22:00-06:00", 6, False),
        ("22:00-06:00", 12, False),
        ("09:30-17:00", 10, True),
        ("09:30-17:00", 9, False),
        ("09:30-17:00", 17, False),
    ],
)
def test_a_window_holds_its_hours_and_may_go_over_midnight(text: str, hour: int, good: bool) -> None:
    """A window begins with its first minute and ends before its last, on any day."""
    for day in (0, 20_000):
        assert inside(window(text), day * 86_400 + hour * HOUR) is good


def test_without_a_window_every_time_is_good() -> None:
    """No window means no limit."""
    assert inside(None, 12 * HOUR)


@pytest.mark.parametrize("text", ["", "22-06", "24:00-06:00", "22:00–06:00", "22:00-06:00 ", "٢٢:00-06:00"])
def test_a_window_is_read_strictly(text: str) -> None:
    """Anything but HH:MM-HH:MM is refused."""
    with pytest.raises(ValueError, match="UTC"):
        window(text)
