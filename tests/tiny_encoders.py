"""Encoders of a few bytes, which a registry holds as it holds exported ones.

Of a text, how often each of the words red, green and blue is in it; of a picture, the mean of each colour; then zeros.
"""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from index.encoders import MODEL, TOKENIZER, EncoderCard, PictureInput, TextInput
from index.manifest import EncoderInfo
from index.pictures import READING
from index.registry import Registry

WORDS = ("red", "green", "blue")
SIDE = 8
OPSET = 18


def add_tiny_encoders(registry: Registry, text_width: int = 3, image_width: int = 3) -> dict[str, EncoderInfo]:
    """Put both into the registry."""
    registry.folder.mkdir(parents=True, exist_ok=True)
    text = EncoderCard(kind="text", name="words", version="1", width=text_width, text=TextInput(max_tokens=50))
    looks = PictureInput(size=SIDE, mean=(0, 0, 0), std=(255, 255, 255), reading=READING)
    image = EncoderCard(kind="image", name="colours", version="1", width=image_width, picture=looks)
    return {
        "text": registry.encoders.add(text, partial(_write_text, text_width)),
        "image": registry.encoders.add(image, partial(_write_image, image_width)),
    }


def _write_text(width: int, folder: Path) -> None:
    table = numpy_helper.from_array(np.eye(len(WORDS) + 1, width, k=-1, dtype=np.float32), "table")
    axes = numpy_helper.from_array(np.array([1]), "axes")
    last = numpy_helper.from_array(np.array([2]), "last")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["states"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["states", "wide"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "axes"], ["features"], keepdims=0),
    ]
    inputs = {name: (TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")}
    _save(folder, width, nodes, inputs, [table, axes, last])
    vocabulary = {"[PAD]": 0} | {word: row for row, word in enumerate(WORDS, 1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / TOKENIZER))


def _write_image(width: int, folder: Path) -> None:
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    wider = numpy_helper.from_array(np.eye(3, width, dtype=np.float32), "wider")
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["colours"], keepdims=0),
        helper.make_node("MatMul", ["colours", "wider"], ["features"]),
    ]
    _save(folder, width, nodes, {"pixels": (TensorProto.FLOAT, ["n", 3, SIDE, SIDE])}, [axes, wider])


def _save(folder: Path, width: int, nodes: list, inputs: dict, constants: list) -> None:
    given = [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()]
    made = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])]
    graph = helper.make_graph(nodes, "tiny", given, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    (folder / MODEL).write_bytes(model.SerializeToString())
