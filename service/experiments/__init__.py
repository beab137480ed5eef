"""Experiments on live traffic: arms, their bundles, what is counted and reported of them."""
