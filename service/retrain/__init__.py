"""The retraining hook: one job at a time, through a launcher, past the gate, into the registry."""
