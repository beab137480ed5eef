"""Benchmarks of the service, load tests with Locust, soak tests, and a rehearsal of faults."""
