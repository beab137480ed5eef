"""Comparisons of the service with other software: `benchmarks.peers`."""
