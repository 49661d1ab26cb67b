"""Files that mean harm, and large ones: the page shows names as text, answers, and lets nothing out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from page_reader import PHONE, proof

from cenotaph_proof import verify
from cenotaph_proof.words import Words

# What stands behind a line is made when it is opened, and has lines of its own.
OPEN = """async () => {
  const all = () => [...document.querySelectorAll("#verdict details")];
  const closed = () => all().filter((details) => details.children.length === 1);
  while (closed().length > 0) {
    closed().forEach((details) => { details.open = true; });
    await new Promise((done) => setTimeout(done, 10));
  }
}"""
MAKER = Path(__file__).with_name("made_proofs.py")
MARKUP = '<img src=x onerror="document.title=1">{who}${7*7}<script>alert(1)</script>'
STATEMENTS = int(os.environ.get("CENOTAPH_STATEMENTS", "2000"))
SECONDS = 20  # on a machine that does other things; alone, 10,000 take under 4 (CENOTAPH_STATEMENTS=10000)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> bytes:
    """A proof file that verifies, and whose every name attacks whoever reads it."""
    file = tmp_path_factory.mktemp("hostile") / "hostile.cenotaph"
    subprocess.run([sys.executable, MAKER, "hostile", file], check=True)
    return file.read_bytes()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_names_in_statements_are_text_and_nothing_else(opened, hostile, language):
    """Organisations, stores, volumes, tools and notes that are markup are shown as what they are."""
    verdict = verify.verify(io.BytesIO(hostile), None)
    reader = opened(language, PHONE)
    reader.page.on("dialog", lambda dialog: reader.said.append(dialog.message))
    reader.give(("hostile.cenotaph", hostile))
    reader.page.evaluate(OPEN)
    shown = reader.page.locator("#verdict .lines > li > details > summary > span").all_text_contents()
    told = [
        Words(language).say(f.code, f.args) for f in (*verdict.proven, *verdict.attested, *verdict.not_shown)
    ]

    assert shown[: len(told)] == [readable(line) for line in told]
    assert "onerror=alert(1)" in reader.page.locator("#verdict").inner_text()
    assert reader.page.locator("main :is(img, script, iframe, object, style)").count() == 0
    assert (
        reader.page.locator("main").evaluate(
            "e => /[\\u202a-\\u202e\\u2066-\\u2069\\u200f]/.test(e.textContent)"
        )
        is False
    )
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= PHONE
    assert reader.page.title() == Words(language).say("page.document")


def readable(line: str) -> str:
    """What turns the direction of writing is shown as its number."""
    return "".join(f"\\u{ord(c):04x}" if c in "\u202e\u2066\u200f" else c for c in line)


def test_names_of_files_are_text_and_nothing_else(opened):
    """So is a file's own name."""
    name = MARKUP.replace("/", "∕") + "\u202e.cenotaph"
    reader = opened()
    reader.give((name, proof("backdated")[1]), (f"b{name}", proof("honest")[1]))

    assert name.replace("\u202e", "\\u202e") in reader.text("#chosen")
    assert reader.page.title() == Words("en").say("page.document")
    assert reader.page.locator("main :is(img, script)").count() == 0


BROKEN = {
    "nothing": b"",
    "a line": b"\n",
    "another object": b"{}\n",
    "cut off": b'{"attachments":',
    "no text": b"\xff\xfe",
    "a number": b'{"attachments":1e999}\n',
    "nested": b"[" * 100_000,
    "lines": b"{" + b"\n" * 99_999,
}


def test_what_is_no_proof_file_does_not_verify(opened):
    """Whatever bytes are called a proof file, the page says step 1; then it takes a better one."""
    name = "case.cenotaph"
    reader = opened()
    for what, content in BROKEN.items():
        reader.give((name, content))
        assert reader.text("#verdict h2") == "DOES NOT VERIFY", what
        assert reader.text("#verdict strong").startswith("Step 1 of 7"), what
    reader.give((name, proof("honest")[1]))

    assert reader.text("#verdict h2") == "Consistent, signers unidentified"
    assert reader.page.locator("#chosen li").count() == 1


def test_the_policy_lets_nothing_in_or_out(chromium, address):
    """The page cannot ask the network for anything, and cannot be given markup to run."""
    page = chromium.new_page()
    page.goto(address)

    assert "Failed to fetch" in page.evaluate("fetch('https://example.org/').catch(String)")
    assert page.evaluate("fetch(location.href).then(() => 'read', () => 'refused')") == "refused"
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<p>x'")
    red = "Object.assign(document.createElement('style'), {textContent: 'body { color: red }'})"
    page.evaluate(f"document.head.append({red})")
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    page.close()


def test_a_large_proof_file_is_read_while_you_wait(opened, tmp_path):
    """Thousands of statements: the page answers in seconds, and every line is there."""
    file = tmp_path / "large.cenotaph"
    subprocess.run([sys.executable, MAKER, "large", file, str(STATEMENTS)], check=True)
    reader = opened()
    begun = time.monotonic()
    reader.page.set_input_files("#pick", file)
    reader.page.locator("#verdict h2").first.wait_for(timeout=1000 * SECONDS)
    took = time.monotonic() - begun
    print(f"\n{STATEMENTS:,} statements, {file.stat().st_size:,} bytes: {took:.1f} s in the browser", end="")

    assert reader.text("#verdict h2") == "Consistent, signers unidentified"
    assert reader.page.locator("#verdict .lines > li").count() > STATEMENTS - 20
    assert took < SECONDS
