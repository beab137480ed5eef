"""Retraining: one job at a time, trained by a launcher, checked by the gate, published in the registry."""
