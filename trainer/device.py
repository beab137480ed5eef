"""The one seam to accelerators."""

from typing import Literal

import torch

from index.errors import InputError

Precision = Literal["float32", "bfloat16"]


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """`auto` is CUDA where torch sees it and the CPU elsewhere; asking for an absent device is an error."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but torch sees no CUDA device; use device = 'auto' or 'cpu'")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def products_in(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which linear layers compute in that precision, whatever that of their parameters."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
