"""What the commands do that need more than one line: one module a group of them."""
