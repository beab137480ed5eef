"""HTTP routes, one file a noun."""
