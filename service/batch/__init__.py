"""Everybody's lists offline: `python -m service batch`."""
