"""Looks up user profiles by id: from caches, the event log and the bundle."""
