"""What durable stores share: group commit, a SQLite file with one writer, writes to Redis that reach the disk."""
