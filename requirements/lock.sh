#!/bin/sh
# Writes the four locks anew from the pyproject files and the .in files beside this script.
# They hold exact versions and hashes and name no host: pip takes the packages from wherever it is told to.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}

compile() { # OUTPUT INPUT…
    output=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-emit-package cenotaph-proof \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --output-file "$output" "$@"
}

extras="--extra certificate --extra paper --extra postgres --extra timestamps"

# shellcheck disable=SC2086 # a list of words
compile requirements/run.txt $extras pyproject.toml proof/pyproject.toml kernel/pyproject.toml requirements/build.in
# shellcheck disable=SC2086
compile requirements/dev.txt --constraint requirements/run.txt $extras pyproject.toml proof/pyproject.toml kernel/pyproject.toml requirements/build.in requirements/dev.in
compile requirements/spark.txt --constraint requirements/dev.txt requirements/spark.in
compile requirements/proof.txt --constraint requirements/run.txt proof/pyproject.toml
