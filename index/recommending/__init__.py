"""Lists for one user or session, and why: profiles, scores split into shares, sentences, neighbours. No HTTP.

The service answers by the same code (service/ranking/), so that a bundle opened in Python gives the service's lists.
"""
