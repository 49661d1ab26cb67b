"""The bytes that deleted rows leave with the server, and how they go."""
