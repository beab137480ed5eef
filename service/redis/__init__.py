"""The Redis client, its circuit breaker, and pub/sub messages between replicas."""
