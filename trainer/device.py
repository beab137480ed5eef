"""Chooses the device and the precision, and compiles models: the only code that depends on accelerators."""

import shutil
from typing import Literal

import torch
from torch import nn

from index.errors import InputError

Precision = Literal["float32", "bfloat16"]


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """`auto` is CUDA where torch finds it, else the CPU; InputError for a device that is missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was requested, but torch finds no CUDA device; use device = 'auto' or 'cpu'")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def compile_steps(model: nn.Module, device: torch.device) -> None:
    """Compile the model by torch.compile, once for all batch sizes; its numbers change by float error.

    Raises:
        InputError: on a CPU without a C++ compiler.
    """
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise InputError("training.compile needs a C++ compiler on a CPU, and none was found; leave it off")
    model.compile(dynamic=True)


def products_in(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which linear layers compute in that precision, whatever that of their parameters."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
