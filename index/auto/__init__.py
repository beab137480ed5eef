"""Chooses a bundle's index by measurement (docs/search-index.md)."""
