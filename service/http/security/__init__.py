"""API keys, rate limits, the admin port and the audit log."""
