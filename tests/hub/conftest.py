"""Databases for the hub's tests."""

from __future__ import annotations

from support.databases import database, database_url, postgres, postgres_url

__all__ = ["database", "database_url", "postgres", "postgres_url"]
