"""The exported encoders, run by onnxruntime on one batch at a time. Needs the extra `encode`."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from index.bundle_store import CARD
from index.encoders import MODEL, TOKENIZER, EncoderCard
from index.pictures import UNREADABLE, decoded, pixels
from service.encoding.frames import Outcome


class Network(Protocol):
    """An encoder of one kind of content."""

    def encode(self, contents: Sequence[bytes]) -> list[Outcome]: ...


def open_network(folder: Path, threads: int) -> Network:
    """The encoder in a folder, whose sums the service has checked."""
    card = EncoderCard.model_validate_json((folder / CARD).read_bytes())
    session = _session(folder / MODEL, threads)
    return TextNetwork(session, folder / TOKENIZER, card) if card.kind == "text" else PictureNetwork(session, card)


class TextNetwork:
    """Texts, in UTF-8, to features; a text longer than the network reads is cut, as in training."""

    def __init__(self, session: Any, tokenizer: Path, card: EncoderCard) -> None:
        assert card.text is not None
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(card.text.max_tokens)
        padding = self._tokenizer.padding or {}
        self._tokenizer.enable_padding(pad_id=padding.get("pad_id", 0), pad_token=padding.get("pad_token", "[PAD]"))

    def encode(self, contents: Sequence[bytes]) -> list[Outcome]:
        tokens = self._tokenizer.encode_batch([content.decode(errors="replace") for content in contents])
        inputs = {
            "input_ids": np.array([one.ids for one in tokens], np.int64),
            "attention_mask": np.array([one.attention_mask for one in tokens], np.int64),
        }
        return list(self._session.run(None, inputs)[0])  # (n, width)


class PictureNetwork:
    """Files of pictures to features."""

    def __init__(self, session: Any, card: EncoderCard) -> None:
        assert card.picture is not None
        self._session, self._size = session, card.picture.size
        self._mean, self._std = (
            np.array(values, np.float32)[:, None, None] for values in (card.picture.mean, card.picture.std)
        )

    def encode(self, contents: Sequence[bytes]) -> list[Outcome]:
        read = [self._read(content) for content in contents]
        pictures = [one for one in read if not isinstance(one, str)]
        if not pictures:
            return [one for one in read if isinstance(one, str)]
        rows = iter(self._session.run(None, {"pixels": np.stack(pictures)})[0])  # (n, width)
        return [one if isinstance(one, str) else next(rows) for one in read]

    def _read(self, content: bytes) -> NDArray[np.float32] | str:
        try:
            with decoded(io.BytesIO(content)) as picture:
                colours = pixels(picture, self._size)
        except UNREADABLE as error:
            return f"the picture cannot be read: {_cause(error)}"
        normalised: NDArray[np.float32] = (colours.astype(np.float32) - self._mean) / self._std
        return normalised


def _cause(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, MemoryError):
        return "it needs more memory than RECO_ENCODE_MEMORY_MB allows"
    return str(cause) or type(cause).__name__


def _session(model: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest batch
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
