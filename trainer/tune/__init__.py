"""Hyper-parameter search: a search space, a persistent study of trials, and its results."""
