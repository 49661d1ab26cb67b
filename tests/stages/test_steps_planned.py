"""What people are to see, from the case file into charter and plan; and a case file that says it wrongly."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from cenotaph import config
from cenotaph.cli import template
from cenotaph.errors import DriftError, UsageError
from cenotaph_proof.statements import Destruction, Plan, PlanStep
from small_case import STORES, SmallCase, build_estate, people

APP = '[[app]]\nname = "code"\nstores = ["health"]\nretire = true\n'
SEEN = (
    'contact = "objections@bureau.example"\n\n'
    + APP
    + '[[recipient]]\nname = "Office"\nconfirm = true\nby = ["operator", "auditor"]\n\n'
    + '[[step]]\nsays = "samples destroyed"\nabout = "freezer 2"\n\n'
)


def load(root: Path, text: str) -> config.CaseFile:
    case = SmallCase.make(root, text + STORES)
    return config.load(case.path / "case.toml")


def test_apps_recipients_and_steps_become_steps_of_the_plan(tmp_path: Path) -> None:
    """In that order; a notary is to testify where nobody else is named."""
    assert load(tmp_path, SEEN).steps() == (
        PlanStep("switched off", "code", ("notary",)),
        PlanStep("copy gone", "Office", ("operator", "auditor")),
        PlanStep("samples destroyed", "freezer 2", ("notary",)),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('contact = ""\n', "case.contact"),
        ('[[app]]\nname = "code"\nretired = true\n', "app.0.retired: is not known"),
        ('[[app]]\nname = "code"\nendpoint = "https://code.example/"\n', "not that it is to be switched off"),
        ('[[app]]\nname = "code"\nhost = "web1"\n', "not that it is to be switched off"),
        (APP + 'endpoint = "code.example"\n', "app code: its endpoint is not well formed"),
        (APP + "endpoint = 7\n", "app.0.endpoint"),
        (APP + 'port = ["db:5432", "db"]\n', "app code: its port is not well formed"),
        (APP + 'job = "/etc/cron.d/sync"\n', "not the machine that it ran on"),
        (APP + 'role = "code_rw"\n', "no store of this version can be asked for its roles"),
        (APP + "by = []\n", "by names nobody"),
        (APP + 'by = ["notary", "notary"]\n', "or a role twice"),
        (APP + 'by = ["mayor"]\n', "app.0.by.0"),
        (APP + 'by = ["owner"]\n', "the case has no party of that role"),
        (APP + APP, "two steps that say the same: code, switched off"),
        ('[[step]]\nsays = "objects"\nabout = "the scope"\n', "step.0.says"),
        ('[[step]]\nsays = "switched off"\nabout = "code"\n', "step.0.says"),
        ('[[step]]\nsays = "witnessed"\n', "step.0.about"),
        ('[[step]]\nsays = "witnessed"\nabout = "a\\u202eb"\n', "step.0.about"),
        ('[[recipient]]\nname = "Office"\nconfirmed = true\n', "recipient.0.confirmed: is not known"),
    ],
)
def test_a_case_file_that_says_it_wrongly_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """The error names the key, and never an address."""
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        load(tmp_path, text)

    assert not re.search("code.example|cron.d|code_rw|5432", caught.value.message)


def test_what_the_template_shows_as_comments_is_understood(tmp_path: Path) -> None:
    """Whoever takes the comments of an app, a recipient and a step away has a case file."""
    start, end = template.TEXT.index("[case]"), template.TEXT.index("[[store]]")
    shown = re.sub(r"^# (?=[a-z\[])", "", template.TEXT[start:end], flags=re.M)
    (tmp_path / "case.toml").write_text(shown + template.TEXT[end:], "utf-8")

    read = config.load(tmp_path / "case.toml")

    assert [s.says for s in read.steps()] == ["switched off", "copy gone", "medium destroyed"]
    assert [t.check for t in read.targets()] == ["endpoint", "port", "job"]
    assert read.case.contact == "objections@bureau.example"


def test_an_amended_plan_keeps_the_steps_and_so_its_approvals(tmp_path: Path) -> None:
    """A collection drifted: the plan without it has the same steps, and narrows the approved one."""
    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, SEEN + STORES)
    case.go("open", "approve-notary")
    with sqlite3.connect(tmp_path / "estate" / "health.db") as database:
        row = people(900, 1)[0].row()
        database.execute("INSERT INTO codes (id_number, phone, day) VALUES (?, ?, ?)", row)
    database.close()
    with pytest.raises(DriftError):
        case.destroy()

    amended = case.plan()
    case.destroy()

    assert amended.body(Plan).number == 2
    assert amended.body(Plan).steps == config.load(case.path / "case.toml").steps()
    assert case.now().require(Destruction).body(Destruction).complete
    assert case.plan().digest == amended.digest  # the same plan is not signed again
