"""Databases for the whole: see support.databases."""

from __future__ import annotations

from support.databases import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
