"""A rehearsal of operational faults under load, with limits on what callers may notice: `python -m loadtests.rehearsal`."""
