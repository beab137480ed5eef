"""Bundles of vectors that were trained elsewhere: ALS, a two-tower, any numpy arrays."""
