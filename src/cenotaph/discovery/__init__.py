"""What personal data looks like, who can read it, and where it lies undeclared."""

from cenotaph.discovery.alike import (
    CollectionProfile,
    ColumnProfile,
    LookAlike,
    Sketch,
    draw_key,
    look_alikes,
)
from cenotaph.discovery.exposure import Exposure, exposures
from cenotaph.discovery.personal import ColumnFinding, ColumnSurvey, subject_column
from cenotaph.discovery.undeclared import Found, Limits, find

__all__ = [
    "CollectionProfile",
    "ColumnFinding",
    "ColumnProfile",
    "ColumnSurvey",
    "Exposure",
    "Found",
    "Limits",
    "LookAlike",
    "Sketch",
    "draw_key",
    "exposures",
    "find",
    "look_alikes",
    "subject_column",
]
