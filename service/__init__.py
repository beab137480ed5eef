"""Answers HTTP from a published bundle. No torch."""

from index import __version__
from index.extras import tell_missing_packages

__all__ = ["__version__"]

tell_missing_packages("service")
