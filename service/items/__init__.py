"""The living catalogue: items that callers put, change and delete, durably and on every replica."""
