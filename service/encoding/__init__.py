"""Encodes texts and pictures of new items by the trainer's encoders, in a process of its own (docs/encoding.md)."""
