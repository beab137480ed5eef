"""Measures searches: kinds of index, filters, deltas, vector databases. `python -m index bench-...`."""
