"""Items that operators hide from every list, on one replica or all."""
