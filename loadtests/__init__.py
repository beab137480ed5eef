"""Benchmarks of the service, load tests with Locust, soak tests, and a rehearsal of faults."""

from index.extras import tell_missing_packages

tell_missing_packages("loadtests")
