"""Destroys personal data across an estate, and proves it to people who do not trust the operator."""

