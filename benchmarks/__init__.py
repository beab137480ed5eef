"""Comparisons of the service with other software: `benchmarks.peers`."""

from index.extras import tell_missing_packages

tell_missing_packages("benchmarks")
