"""Measures recommendations of items that training never saw, beside baselines and beside training on them."""
