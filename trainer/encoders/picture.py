"""From an image file to the square of colours that a network reads."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

# What Pillow raises for files that are absent, cut short, of no known format, or absurdly large.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def open_picture(path: Path) -> Image.Image:
    """The picture in RGB, upright as its EXIF says, on white where transparent. Raises one of UNREADABLE."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file)
        if picture.has_transparency_data:
            layer = picture.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            return Image.alpha_composite(white, layer).convert("RGB")
        return picture.convert("RGB")


def pixels(picture: Image.Image, size: int) -> torch.Tensor:
    """The whole picture squeezed to size x size: uint8 (3, size, size)."""
    resized = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)  # (3, size, size)
