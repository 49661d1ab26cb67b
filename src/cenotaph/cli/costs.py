"""What a plan will cost, told with it; and how far that was off, told with its destruction."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cenotaph import cost, pace
from cenotaph.desk import Desk
from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import Destruction, Plan


def predict(desk: Desk, plan: Entry) -> tuple[list[str], dict[str, Any]]:
    """For a person and for a script. Reckoned once a plan, and kept beside the case; nothing where there is
    nothing to go by."""
    predicted = cost.kept(desk.path, plan.digest)
    case = desk.case() if predicted is None else None
    if case is not None and case.latest(Destruction) is None:
        kinds = {table.name: table.kind for table in desk.config.store}
        predicted = cost.predict(desk.path, desk.estate(case), plan.body(Plan), kinds)
        if predicted is not None:
            cost.keep(desk.path, plan.digest, predicted)
    if predicted is None:
        return [], {}
    return ["", *cost.lines(predicted)], {"predicted": asdict(predicted)}


def compare(desk: Desk, destruction: Entry) -> tuple[list[str], dict[str, Any]]:
    """Once a plan is carried out to its end. What runs took that were killed is not known."""
    plan = desk.case().require(Plan)
    predicted = cost.kept(desk.path, plan.digest)
    if predicted is None or not destruction.body(Destruction).complete:
        return [], {}
    seconds = sum(run["seconds"] for run in pace.ended(desk.path, "destroy") if run["of"] == plan.digest)
    return [cost.compared(predicted, seconds)], {
        "seconds": round(seconds, 3),
        "predicted_seconds": predicted.seconds,
    }
