"""Which bundle serves: opening it, changing it while requests are answered, watching what it does."""
