"""Only what pyproject.toml cannot say: that cffi makes the extension."""

from setuptools import setup

setup(cffi_modules=["build_native.py:native"])
