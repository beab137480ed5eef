"""Readers of the data that people have, one file a layout."""
