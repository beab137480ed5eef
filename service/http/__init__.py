"""The HTTP server, its routes and their security."""
