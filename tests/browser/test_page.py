"""The page as a reader meets it: files in, the verdict out, on a phone and a desk, by mouse, keys and ear."""

from __future__ import annotations

import io
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from page_reader import DESK, FOLDER, PHONE, VIOLATIONS, Reader, axe, proof, scenario, trust_of

from cenotaph_proof import report, trust, verify
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.words import Words
from plain_paper import plain_paper

pytest.importorskip("axe_playwright_python", reason="axe is not installed")

HONEST = [proof("honest-volume"), trust_of("honest-volume")]
OUTCOMES = {
    "verified": HONEST,
    "unidentified": [proof("honest")],
    "refused": [proof("backdated"), trust_of("backdated")],
    "split": [proof("honest"), proof("honest-amended"), trust_of("honest")],
    "trust file refused": [proof("honest"), ("trust.toml", b"[[party]]\nnobody = 1\n")],
}


# ── what a reader is told ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "head"),
    [
        ("verified", {"en": "VERIFIED", "zh": "已验证"}),
        ("unidentified", {"en": "Consistent, signers unidentified", "zh": "前后一致，但签名者身份未经确认"}),
        ("refused", {"en": "DOES NOT VERIFY", "zh": "验证不通过"}),
        ("trust file refused", {"en": "The trust file cannot be used", "zh": "信任文件无法使用"}),
    ],
)
def test_the_outcome_stands_first(opened, outcome, head):
    """Before any figure a reader learns whether the file verifies, and the page says so aloud."""
    for language in ("en", "zh"):
        reader = opened(language)
        reader.give(*OUTCOMES[outcome])

        assert reader.text("#verdict h2") == head[language]
        assert head[language] in reader.text("#status")
        assert reader.page.evaluate("document.activeElement.textContent") == head[language]


def test_every_line_of_the_verdict_is_shown(opened):
    """The three lists on the page are those of the verifier in Python, word for word, in both languages."""
    name, held = "honest-volume", trust.load(FOLDER / scenario("honest-volume")["trust"])
    verdict = verify.verify(io.BytesIO(scenario(name)["proof"].encode()), held)
    lists = (verdict.proven, verdict.attested, verdict.not_shown)
    for language in ("en", "zh"):
        reader = opened(language)
        reader.give(*HONEST)
        shown = reader.page.locator("#verdict .lines > li > details > summary > span").all_text_contents()

        assert shown == [Words(language).say(f.code, f.args) for lines in lists for f in lines]


def test_a_refusal_names_the_step_and_the_reason(opened):
    """What failed is said in a sentence, and marked among the seven steps."""
    reader = opened()
    reader.give(*OUTCOMES["refused"])

    assert reader.text("#verdict .banner strong").startswith("Step 4 of 7: Statements follow those they cite")
    assert "backdated" in reader.text(".reason")
    failed = reader.page.locator(".steps [aria-current]").all_inner_texts()
    assert [(step[0], step[-8:]) for step in failed] == [("4", "(failed)")]


def test_behind_a_line_stand_its_step_and_its_statements(opened):
    """Whoever doubts a line opens it and reads what was signed."""
    reader = opened()
    reader.give(*HONEST)
    line = reader.page.locator(".lines > li", has_text="lay under the sealed root")
    line.locator("summary").first.click()
    line.get_by_text("Its words, for machines").click()

    assert "Step 7 of the check" in line.inner_text()
    assert "Seal · operator Vector Bureau" in line.inner_text()
    assert json.loads(line.locator("pre").inner_text())["says"]["records"] == 9029


def test_no_signer_is_called_by_name_whose_key_nobody_vouched_for(opened):
    """Without a trust file each statement, too, is by a key that calls itself something."""
    reader = opened()
    reader.give(proof("honest"))
    reader.page.get_by_text("All statements of this case").click()
    heads = reader.page.locator("#verdict details.help .lines summary").all_inner_texts()

    assert len(heads) == 13
    assert all(" a key calling itself Vector " in head for head in heads)


def test_files_come_one_after_another(opened):
    """A trust file that comes later changes the verdict; taken away again, nobody is identified any more."""
    reader = opened()
    reader.give(proof("honest"))
    assert reader.text("#verdict h2") == "Consistent, signers unidentified"
    reader.give(trust_of("honest"))
    assert reader.text("#verdict h2") == "VERIFIED"
    reader.page.get_by_role("button", name="Remove trust.toml").click()
    reader.page.get_by_role("heading", name="Consistent, signers unidentified").wait_for()


def test_keys_named_by_path_are_found_among_the_files(opened):
    """A trust file may name its keys by file; a file that was not given is asked for by name."""
    lines = scenario("honest")["trust"] and (FOLDER / scenario("honest")["trust"]).read_text("utf-8")
    before, key, after = lines.split("'''", 2)
    table = f'{before}"keys/Bureau.pub"{after}'.encode()
    reader = opened()
    reader.give(proof("honest"), ("trust.toml", table))
    assert "Bureau.pub" in reader.text(".reason")
    reader.give(("Bureau.pub", key.lstrip("\n").encode()))

    assert reader.text("#verdict h2") == "VERIFIED"


def test_two_histories_are_told_before_anything_else(opened):
    """Each file verifies alone; together they prove that the operator signed two histories."""
    reader = opened()
    reader.give(*OUTCOMES["split"])

    assert "do not tell one history" in reader.text("#comparison h2")
    assert "signed two histories" in reader.text("#comparison .reason")
    assert reader.text("#verdict h2") == "VERIFIED"
    reader.page.get_by_role("button", name="Show the verdict of honest-amended.cenotaph").click()
    reader.page.get_by_role("heading", name="honest-amended.cenotaph and honest.cenotaph").wait_for()


def test_one_history_is_said_to_be_one(opened):
    """The same file twice, under two names, tells one history."""
    name, content = proof("honest")
    reader = opened()
    reader.give((name, content), ("copy.cenotaph", content), trust_of("honest"))

    assert "tell one history: the first 13 statements" in reader.text("#comparison")


def test_files_that_cannot_be_compared_accuse_nobody(opened):
    """A second file that does not replay shows no second history: the page says so, and no more."""
    name, content = proof("honest")
    reader = opened()
    reader.give((name, content), ("broken.cenotaph", content[: len(content) // 2]), trust_of("honest"))

    assert "cannot be compared" in reader.text("#comparison h2")
    assert reader.page.locator("#comparison .banner.bad").count() == 0
    assert "not tell one history" not in reader.text("#comparison")


def test_the_verdict_can_be_kept(opened):
    """As JSON and as text: what cenotaph-verify prints of the same file, in the page's language."""
    name, held = "honest-volume", trust.load(FOLDER / scenario("honest-volume")["trust"])
    verdict = verify.verify(io.BytesIO(scenario(name)["proof"].encode()), held)
    for language, buttons in (("en", ("JSON", "text")), ("zh", ("JSON", "文本"))):
        reader = opened(language)
        reader.give(*HONEST)
        saved = []
        for label in buttons:
            with reader.page.expect_download() as download:
                reader.page.locator(".save button", has_text=label).click()
            saved.append(Path(download.value.path()).read_text("utf-8"))

        assert json.loads(saved[0]) == report.to_json(verdict, language)
        assert saved[1] == report.render(verdict, language)


def test_a_secret_key_is_not_read(opened):
    """Whoever drops their secret key by mistake is told so, and it goes nowhere."""
    secret = SecretKey.generate("Audit Co", "auditor")
    text = json.dumps({"format": "cenotaph-secret-key/v1", "ed25519": secret.ed25519_seed.hex()}).encode()
    reader = opened()
    reader.give(proof("honest"), ("AuditCo", text))

    assert "AuditCo is a secret key. It was not read." in reader.text("#notes")
    assert secret.ed25519_seed.hex() not in reader.page.content()
    assert reader.page.locator("#chosen li").count() == 1


def test_a_printed_certificate_gives_its_proof_file(opened):
    """The attachment of a PDF is taken out and checked; that the paper was not compared is said, and kept."""
    _, content = proof("honest")
    said = {"en": "was not checked here; cenotaph-verify does that", "zh": "此处未作核查"}
    for language in ("en", "zh"):
        reader = opened(language)
        reader.give(("certificate.pdf", plain_paper(attached=content)), trust_of("honest"))
        saved = []
        for button in reader.page.locator(".save button").all()[:2]:
            with reader.page.expect_download() as download:
                button.click()
            saved.append(Path(download.value.path()).read_text("utf-8"))

        assert reader.page.locator("#verdict .banner.good").count() == 1
        assert said[language] in reader.page.locator("#verdict .lines").last.text_content()
        last = json.loads(saved[0])["not_shown"][-1]
        assert (last["code"], last["step"]) == ("not-shown.paper-unread", "paper 4")
        assert said[language] in last["text"]
        assert saved[1].endswith(f"  - {last['text']}\n")
    assert "certificate.pdf" in reader.text("#notes")


def test_a_pdf_that_is_not_built_as_certificates_are_gives_nothing(opened):
    """Two attachments, or tables that this page does not read: nothing is chosen, and what to do is said."""
    _, content = proof("honest")
    reader = opened()
    reader.give(
        ("certificate.pdf", plain_paper(attached=content).replace(b"[10 0 R]", b"[12 0 R]")), proof("honest")
    )

    assert "certificate.pdf is not built as certificates in PDF are" in reader.text("#notes")
    assert reader.page.locator("#chosen li").count() == 1


# ── on any screen, by keys, by ear ───────────────────────────────────────────────────────────────


SEEN = [("en", None), ("en", "verified"), ("zh", None), ("zh", "refused")]
SEEN_SLOWLY = [
    (language, outcome)
    for language in ("en", "zh")
    for outcome in OUTCOMES
    if (language, outcome) not in SEEN
]


@pytest.mark.parametrize(
    ("language", "outcome"), [*SEEN, *(pytest.param(*seen, marks=pytest.mark.slow) for seen in SEEN_SLOWLY)]
)
def test_nothing_is_in_the_way_of_anyone(opened, language, outcome):
    """axe finds no violation at any width, light or dark, and no page has to be pushed sideways."""
    reader = opened(language, PHONE)
    if outcome is not None:
        reader.give(*OUTCOMES[outcome])
        for summary in reader.page.locator("summary").all()[:4]:
            summary.click()
    reader.page.evaluate(axe())
    for width, scheme in ((PHONE, "light"), (DESK, "dark")):
        reader.page.set_viewport_size({"width": width, "height": 800})
        reader.page.emulate_media(color_scheme=scheme)

        assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
        assert reader.page.evaluate(VIOLATIONS) == []


def test_the_page_is_used_by_keys_alone(opened):
    """From the first key to the words of a statement, without a mouse."""
    reader = opened()
    keys = reader.page.keyboard

    def at() -> str:
        found: str = reader.page.evaluate("document.activeElement.id || document.activeElement.textContent")
        return found

    keys.press("Tab")
    assert at() == "Skip to the files"
    keys.press("Enter")
    keys.press("Tab")
    assert at() == "pick"
    reader.give(*HONEST)
    assert at() == "VERIFIED"
    keys.press("Tab")
    keys.press("Enter")
    line = reader.page.locator(".lines details[open]")
    line.get_by_text("Step 5 of the check").wait_for(
        timeout=5_000
    )  # what a line says is drawn a moment later


def test_the_language_is_the_readers(chromium, address):
    """The browser's language is spoken at first; the one that was chosen stays in the address."""
    context = chromium.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(address)
    assert page.title() == Words("zh").say("page.document")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    page.get_by_role("link", name="English").click()
    page.get_by_text("Choose files", exact=True).wait_for()
    page.reload()
    assert page.title() == Words("en").say("page.document")
    context.close()


# ── wherever it is opened ────────────────────────────────────────────────────────────────────────


DROP = """([name, text]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], name));
  const how = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", how));
}"""


def test_files_are_dropped_anywhere(opened):
    """A file that is let go over the page is taken like one that was chosen."""
    name, content = proof("honest")
    reader = opened()
    reader.page.evaluate(DROP, [name, content.decode()])
    reader.page.get_by_role("heading", name="Consistent, signers unidentified").wait_for()

    assert name in reader.text("#chosen")


def test_a_web_server_serves_it_as_it_is(chromium, address):
    """From a server the page asks for itself and for nothing else, and verifies all the same."""
    folder = Path(address.removeprefix("file://")).parent
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        reader = Reader(chromium.new_page())
        page = f"http://127.0.0.1:{server.server_port}/verify.html"
        reader.page.goto(page)
        reader.give(*HONEST)
        assert reader.page.locator("#verdict .banner.good").count() == 1
        assert (reader.asked, reader.said) == ([page], [])
        reader.page.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Silent(SimpleHTTPRequestHandler):
    """A web server that keeps no record of who read what."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


NO_CRYPTO = "Object.defineProperty(crypto, 'subtle', { value: undefined });"
NO_ED25519 = "crypto.subtle.generateKey = async () => { throw new DOMException('', 'NotSupportedError'); };"


@pytest.mark.parametrize(
    ("lacks", "told"),
    [(NO_CRYPTO, "opened over plain http"), (NO_ED25519, "cannot check Ed25519 signatures")],
    ids=["no cryptography", "no Ed25519"],
)
def test_a_browser_that_cannot_check_says_so(chromium, address, lacks, told):
    """Nothing is called verified or refused by a browser that cannot tell."""
    page = chromium.new_page()
    page.add_init_script(lacks)
    page.goto(f"{address}#en")
    name, content = proof("honest")
    page.set_input_files("#pick", [{"name": name, "mimeType": "text/plain", "buffer": content}])
    page.locator("#notes .wrong").wait_for()

    assert told in page.locator("#notes").inner_text()
    assert page.locator("#verdict > *").count() == 0
    page.close()


# ── put together ─────────────────────────────────────────────────────────────────────────────────


def test_the_page_in_the_repository_is_its_parts(built):
    """verify.html is what `make web` makes of core/, page/ and the words."""
    assert built.BUILT.read_text("utf-8") == built.page(), "run: make web"


def test_a_changed_page_does_not_run(chromium, address, built, tmp_path):
    """One changed character, and the browser refuses the script: the policy names it by its hash."""
    file = tmp_path / "verify.html"
    file.write_text(built.page().replace('"use strict";', '"use strict"; ', 1), "utf-8")
    page = chromium.new_page()
    page.goto(file.as_uri())

    assert page.title() == "cenotaph verify"
    assert page.evaluate("typeof Cenotaph") == "undefined"
    page.close()


def test_every_word_of_the_page_is_used(built):
    """Each code stands in the page's sources: whole, or as the beginning of one that is put together."""
    source = "".join(p.read_text("utf-8") for p in (built.HERE / "page").iterdir())
    codes = [code for code in built.catalogue()["en"] if code.startswith("page.")]
    unused = [code for code in codes if code not in source and f"{code.rpartition('.')[0]}.${{" not in source]

    assert all(code.endswith((".what", ".which")) for code in unused), unused
