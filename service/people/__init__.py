"""People who are forgotten on request, everywhere, and what is kept of a person."""
