"""A certificate on paper: what it says, how it is set, and how it is checked (spec/paper.md)."""
