"""The Redis client, its circuit breaker, and messages between replicas."""
