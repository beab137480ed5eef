"""Image networks of three libraries in one form: prepare a picture, then features for a batch of them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from zlib import crc32

import torch
from PIL import Image
from torch import nn

from index.errors import InputError
from index.extras import missing_package


@dataclass(frozen=True)
class ImageNetwork:
    """`forward(stack of preprocess(picture))` is features (n, width); `net` holds the weights it uses.

    `preprocessing` names what `preprocess` does, as far as the weights do not imply it.
    """

    net: nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    forward: Callable[[torch.Tensor], torch.Tensor]
    preprocessing: str


def torchvision_network(name: str) -> ImageNetwork:
    """Any torchvision classifier with its default weights, up to its last linear layer: vgg16 gives 4,096."""
    models = _library("torchvision.models", f"torchvision:{name}")
    try:
        weights = models.get_model_weights(name).DEFAULT
        net = models.get_model(name, weights=weights)
    except (OSError, ValueError) as error:
        raise _no_model("torchvision", name, error) from error
    _drop_last_linear(net, name)
    return ImageNetwork(net, weights.transforms(), net, str(weights))


def timm_network(name: str) -> ImageNetwork:
    """Any timm model with its pretrained weights: its pooled features, with its own evaluation transform."""
    timm = _library("timm", f"timm:{name}")
    data = _library("timm.data", f"timm:{name}")
    try:
        net = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_model("timm", name, error) from error
    config = data.resolve_model_data_config(net)
    size = "x".join(str(side) for side in config["input_size"])
    return ImageNetwork(net, data.create_transform(**config, is_training=False), net, f"timm{size}")


def hugging_face(name: str) -> ImageNetwork:
    """Any transformers model that reads images, by name or path, with its own image processor.

    Features: the projected image embedding of a two-tower model (CLIP), else the pooled output, else the mean
    over positions of the last hidden state.
    """
    transformers = _library("transformers", f"hf:{name}")
    transformers.utils.logging.disable_progress_bar()
    try:
        net = transformers.AutoModel.from_pretrained(name)
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _no_model("Hugging Face", name, error) from error

    def preprocess(picture: Image.Image) -> torch.Tensor:
        prepared: torch.Tensor = processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return prepared

    embed = getattr(net, "get_image_features", net)
    settings = crc32(processor.to_json_string().encode())
    return ImageNetwork(net, preprocess, lambda images: _pooled(embed(pixel_values=images)), f"processor{settings:08x}")


def _pooled(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output  # (n, width)
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(start_dim=1)  # convolutional models give (n, width, 1, 1)
    hidden: torch.Tensor = output.last_hidden_state
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))  # (n, width, height, width of map)
    return hidden.mean(dim=1)  # (n, positions, width)


def _drop_last_linear(net: nn.Module, name: str) -> None:
    linear = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(f"torchvision model {name!r} has no linear layer; expected a classifier that ends in one")
    parent, _, leaf = linear[-1].rpartition(".")
    setattr(net.get_submodule(parent), leaf, nn.Identity())


def _library(module: str, encoder: str) -> Any:
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision built for another torch
        told = missing_package(error, f"image encoder {encoder!r}") if isinstance(error, ImportError) else None
        package = module.partition(".")[0]
        raise InputError(told or f"image encoder {encoder!r}: {package} cannot be imported: {error}") from error


def _no_model(family: str, name: str, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(f"found no {family} model {name!r}: {reason}")
