"""An index that takes changes while it serves: a delta beside a main index, its log, and compaction."""
