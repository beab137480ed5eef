"""Texts and images to features: one small interface, results cached by content."""

from trainer.encoders.base import FeatureEncoder
from trainer.encoders.encode import encode_features
from trainer.encoders.fuse import fuse
from trainer.encoders.image import image_encoder
from trainer.encoders.text import text_encoder

__all__ = ["FeatureEncoder", "encode_features", "fuse", "image_encoder", "text_encoder"]
