"""Several processes that serve one port of one machine as one service: supervision, and what they share."""
