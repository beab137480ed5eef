"""The same vectors, index and filter of seen items behind other serving frameworks (README.md)."""
