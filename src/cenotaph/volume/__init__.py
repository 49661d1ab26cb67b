"""A mounted file system below its files: what it is, what its blocks are, reading and wiping them."""
