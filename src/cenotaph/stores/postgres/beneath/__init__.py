"""The server's files, beneath its own interface."""
