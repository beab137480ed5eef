"""Feedback: what users did, taken in durably, read back by user, by position, and as figures of quality."""
