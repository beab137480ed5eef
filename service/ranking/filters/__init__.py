"""The filter language: its grammar, the typed columns that it is evaluated on, and the warnings that it gives."""
