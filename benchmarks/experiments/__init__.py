"""Measures false alarms, power and coverage of the experiments' statistics on simulated traffic."""
