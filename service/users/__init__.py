"""User profiles: looked up by id, cached, folded in from events."""
