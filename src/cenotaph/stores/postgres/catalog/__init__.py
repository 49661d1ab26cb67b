"""What a database has, as its catalogs tell: tables, and what else holds or names their rows."""
