"""Experiments on live traffic: arms, and what their users did."""
