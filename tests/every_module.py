"""Imports all that a command may import, for a fork server to have it."""

from __future__ import annotations

import importlib
import pkgutil

import cenotaph
import cenotaph_proof

for package in (cenotaph, cenotaph_proof):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("cenotaph.testing"):
            importlib.import_module(module.name)
