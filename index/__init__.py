"""What trainer and service share: the bundle on disk and the search over it. No torch, no HTTP."""
