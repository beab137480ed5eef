"""Ranks and explains items for a profile, without HTTP and without Redis."""
