"""The living catalogue in lists: items that training never saw, or that have changed since, beside a bundle's own."""
