"""The trainer's encoders as a registry has them, exported once for all processes of a test run.

An export takes as long as a hundred tests: a command that finds them in its registry uses those.
"""

import os
import shutil
from pathlib import Path

import pytest

from index.bundle_store import ENCODERS
from index.manifest import EncoderInfo
from index.registry import Registry
from index.storage import locked
from trainer.data import EncoderName
from trainer.encoders import image_encoder, text_encoder
from trainer.encoders.onnx_export import EXPORTED, export_encoders


def exported_encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, dict[str, EncoderInfo]]:
    """A registry with those of texts and images; no test may change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported-encoders"
    folder.mkdir(exist_ok=True)
    encoders = {"text": text_encoder(EXPORTED["text"], "cpu"), "image": image_encoder(EXPORTED["image"], "cpu")}
    made_by = {modality: EncoderName(name=one.name, version=one.version) for modality, one in encoders.items()}
    with locked(folder):
        registry = Registry(folder)
        return registry, export_encoders(made_by, made_by, registry)


def put_encoders(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give them to a registry that is still empty."""
    made, _ = exported_encoders(tmp_path_factory)
    shutil.copytree(made.folder / ENCODERS, registry / ENCODERS, copy_function=os.link)
