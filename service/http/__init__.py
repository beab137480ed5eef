"""The HTTP surface: server, routes, security."""
