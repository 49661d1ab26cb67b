"""Feed a parser what nobody would write, guided by the code that it reaches (atheris, libFuzzer).

    python fuzz/run.py PARSER [libFuzzer options]

PARSER is a name in tests/parsers.py. A finding is an exception that is no error of ours, an input that takes
too long, or one that takes too much memory; it is written to fuzz/findings/.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
with atheris.instrument_imports(include=["cenotaph_proof", "pyhanko.pdf_utils"]):
    from parsers import parsers

    if importlib.util.find_spec("pyhanko"):
        importlib.import_module("pyhanko.pdf_utils.reader")  # ours, inside a function, would come too late


def main() -> None:
    """Run until a finding, or until libFuzzer's options say so."""
    name, options = sys.argv[1], sys.argv[2:]
    parser = parsers()[name]
    findings = HERE / "findings"
    findings.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as seeds:
        for number, example in enumerate(parser.examples):
            (Path(seeds) / str(number)).write_bytes(example)
        limits = ["-timeout=10", "-rss_limit_mb=512", "-print_final_stats=1", "-max_len=65536"]
        kept = f"-artifact_prefix={findings}/{name}-"
        atheris.Setup([sys.argv[0], *limits, kept, *options, seeds], lambda data: feed(parser.feed, data))
        atheris.Fuzz()


def feed(parser, data):  # type: ignore[no-untyped-def]  # atheris looks at neither
    """One input; libFuzzer wants nothing back."""
    parser(data)


if __name__ == "__main__":
    main()
