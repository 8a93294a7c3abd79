"""History and registry in SQL: the only package that speaks to the database."""
