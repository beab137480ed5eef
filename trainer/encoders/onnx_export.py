"""Exports the encoders of a data set to ONNX, beside the bundles of a registry (index/encoders.py).

The service, which has no torch, encodes texts and pictures of new items with them (docs/encoding.md).
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from index.encoders import MODEL, TOKENIZER, EncoderCard, PictureInput, TextInput
from index.errors import InputError
from index.extras import missing_package
from index.manifest import EncoderInfo
from index.pictures import READING
from index.registry import Registry
from trainer.data import EncoderName
from trainer.encoders.base import FeatureEncoder
from trainer.encoders.efficientnet import MEAN, SCALE, SIZE
from trainer.encoders.image import EFFICIENTNET, image_encoder
from trainer.encoders.text import MINILM, text_encoder
from trainer.progress import print_status

EXPORTED: dict[Literal["text", "image"], str] = {"text": MINILM, "image": EFFICIENTNET}
ALIKE = 0.999  # least cosine of the features of both
SHORTEST_SUM = 1e-9  # of a mask, as sentence-transformers has it


def export_encoders(
    made_by: Mapping[str, EncoderName], features: Mapping[str, object], registry: Registry
) -> dict[str, EncoderInfo]:
    """The encoders of these features in the registry, exported where it lacks them; says which it leaves out and why.

    Args:
        made_by: the encoder of each modality, as dataset.json has it.
        features: the modalities that the data set has.
        registry: stores the files, once for all bundles.
    """
    found: dict[str, EncoderInfo] = {}
    for modality in EXPORTED:
        if modality in features:
            exported = _exported(modality, made_by.get(modality), registry)
            if isinstance(exported, EncoderInfo):
                found[modality] = exported
            else:
                print_status(f"no {modality} encoder beside the bundle: {exported}; new items need ready features")
    return found


def _exported(modality: Literal["text", "image"], made_by: EncoderName | None, registry: Registry) -> EncoderInfo | str:
    """The encoder in the registry, or why there is none."""
    if made_by is None:
        return f"dataset.json names none for its {modality} features (they were given, or prepared by an older version)"
    if made_by.name != EXPORTED[modality]:
        return f"only {EXPORTED[modality]} can be exported, and {made_by.name} made the features"
    known = registry.encoders.find(modality, made_by.name, made_by.version)
    if known is not None:
        return known
    encoder = text_encoder(MINILM, "cpu") if modality == "text" else image_encoder(EFFICIENTNET, "cpu")
    if encoder.version != made_by.version:
        return f"the installed {encoder.name} is version {encoder.version}, and {made_by.version} made the features"
    print_status(
        f"exporting {encoder.name} to ONNX, so that the service can encode new items: up to a minute, once for all "
        "bundles of this registry; --encoders none leaves it out"
    )
    try:
        return export_text(encoder, registry) if modality == "text" else export_image(encoder, registry)
    except ModuleNotFoundError as error:
        return missing_package(error, "trainer") or str(error)


def export_text(encoder: Any, registry: Registry) -> EncoderInfo:
    """Export a sentence-transformers model of a transformer, mean pooling and normalisation, with its tokenizer."""
    kinds = [type(module).__name__ for module in encoder.model]
    if kinds != ["Transformer", "Pooling", "Normalize"]:
        raise InputError(f"{encoder.name} consists of {', '.join(kinds)}; expected Transformer, Pooling, Normalize")
    most = int(encoder.model.max_seq_length)
    card = _card("text", encoder, text=TextInput(max_tokens=most))

    def example(n: int, length: int) -> dict[str, torch.Tensor]:
        tokens = torch.randint(1, len(encoder.model.tokenizer), (n, length), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(tokens)
        mask[0, length // 2 :] = 0
        return {"input_ids": tokens, "attention_mask": mask}

    def fill(folder: Path) -> None:
        network = _MeanOfTokens(encoder.model[0].auto_model).eval()
        dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=2, max=most)}
        _save(network, example(2, 7), dynamic, folder / MODEL)
        _check(network, example(3, 11), folder / MODEL)
        (folder / TOKENIZER).write_text(encoder.model.tokenizer.backend_tokenizer.to_str(), encoding="utf-8")

    return registry.encoders.add(card, fill)


def export_image(encoder: Any, registry: Registry) -> EncoderInfo:
    """Export EfficientNet-lite0 up to its pooled features."""
    mean, std = (MEAN, MEAN, MEAN), (SCALE, SCALE, SCALE)
    card = _card("image", encoder, picture=PictureInput(size=SIZE, mean=mean, std=std, reading=READING))

    def fill(folder: Path) -> None:
        network = _PooledMaps(encoder.network.net).eval()
        pixels = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        _save(network, {"pixels": pixels[:2]}, {0: torch.export.Dim("batch")}, folder / MODEL)
        _check(network, {"pixels": pixels}, folder / MODEL)

    return registry.encoders.add(card, fill)


def _card(kind: Literal["text", "image"], encoder: FeatureEncoder, **inputs: Any) -> EncoderCard:
    return EncoderCard(kind=kind, name=encoder.name, version=encoder.version, width=encoder.width, **inputs)


class _MeanOfTokens(nn.Module):
    """The unit mean of a transformer's last hidden states over the tokens that are no padding."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        transformer.set_attn_implementation("eager")  # the same function in operators that ONNX has
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        kinds = torch.zeros_like(input_ids)
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=kinds)[0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)  # (n, length, 1)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=SHORTEST_SUM)
        return nn.functional.normalize(mean, p=2, dim=1)  # (n, width)


class _PooledMaps(nn.Module):
    """The mean of the last maps, of pictures that were normalised before."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.net.extract_features(pixels)  # (n, width, 7, 7)
        return maps.mean(dim=(2, 3))


def _save(network: nn.Module, inputs: Mapping[str, torch.Tensor], dynamic: Any, path: Path) -> None:
    """Write one file, without the stack traces that the exporter notes: equal weights give equal bytes."""
    import onnx  # noqa: PLC0415 - takes long, and most exports find their encoders in the registry

    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=["features"],
            dynamic_shapes=tuple(dynamic for _ in inputs),
        )
    if program is None:
        raise InputError("torch.onnx.export returned nothing; expected a program")
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _check(network: nn.Module, inputs: Mapping[str, torch.Tensor], path: Path) -> None:
    """InputError unless the file gives the network's features, of a batch of another shape than it was exported with.

    A new version of torch or of its exporter may break what an older one did right.
    """
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(*inputs.values())
    found = torch.from_numpy(session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0])
    alike = float(nn.functional.cosine_similarity(found, expected).min())
    if not alike >= ALIKE:
        raise InputError(
            f"the exported network gives other features than the trainer's: cosine {alike:.4f}, expected {ALIKE} or "
            "more; --encoders none writes the bundle without it"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings: of optional packages that are not installed, and of its own old calls."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
