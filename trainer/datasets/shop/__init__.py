"""The demo shop: products with drawn pictures and written words, and people whose tastes decide what they buy."""

from trainer.datasets.shop.reader import GeneratedShop, generate, read

__all__ = ["GeneratedShop", "generate", "read"]
