"""Replays the numbers of the public reference implementations (MODELS.md, section 8) through our models."""

from trainer.golden.correspondence import MODELS
from trainer.golden.replay import TOLERANCE, verify_golden

__all__ = ["MODELS", "TOLERANCE", "verify_golden"]
