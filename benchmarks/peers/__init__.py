"""The same vectors, index and seen filter behind other serving frameworks, each in a virtual environment of its own."""
