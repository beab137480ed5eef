"""Items that operators took out of every list, on one replica or all."""
