"""Adds up the kill points of all tests, also those that ran in other processes."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line: how many kills there were, and after how many the case went on."""
    totals = {"kill points": 0, "survived": 0, "full disks": 0, "survived full disks": 0}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties if report.when == "call" else ():
                if name in totals:
                    totals[name] += value
    if totals["kill points"]:
        terminalreporter.write_line(
            f"crash: {totals['kill points']} kill points, {totals['survived']} survived; "
            f"{totals['full disks']} full disks, {totals['survived full disks']} survived"
        )
