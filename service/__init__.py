"""Answers HTTP from a published bundle. No torch."""

from index import __version__

__all__ = ["__version__"]
