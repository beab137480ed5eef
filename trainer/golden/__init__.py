"""Replays recorded numbers of the reference implementations (docs/models.md#beside-the-references)."""

from trainer.golden.correspondence import MODELS
from trainer.golden.replay import TOLERANCE, verify_golden

__all__ = ["MODELS", "TOLERANCE", "verify_golden"]
