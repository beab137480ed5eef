"""Answers HTTP from a published bundle. No torch."""
