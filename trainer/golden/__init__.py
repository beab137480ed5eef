"""Replays recorded numbers of the reference implementations (docs/models.md#beside-the-references)."""

from trainer.golden.correspondence import MODELS
from trainer.golden.verify import TOLERANCE, tolerance_of, verify_golden

__all__ = ["MODELS", "TOLERANCE", "tolerance_of", "verify_golden"]
