"""What happens on a bad day, made to happen on purpose under load, and judged: `python -m loadtests.rehearsal`."""
