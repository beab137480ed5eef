"""The search for good settings: a space, a study that outlives its process, and what it found."""
