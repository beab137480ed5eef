"""How fast the service answers: a benchmark with a yardstick beside it, open arrivals, and a Locust user."""
