"""Copies of rows outside the database: archives, logs, backups, standbys."""
