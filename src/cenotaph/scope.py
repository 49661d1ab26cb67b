"""Which records of a store go, and which stay."""
