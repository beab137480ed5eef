"""A rehearsal of operational faults under load, with limits on their impact: `python -m loadtests.rehearsal`."""
