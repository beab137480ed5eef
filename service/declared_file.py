"""Files in which an operator declares something, as JSON or TOML."""

import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from index.errors import InputError
from index.validation import explained

M = TypeVar("M", bound=BaseModel)

READERS: dict[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomllib.loads}


def read_declared(path: Path, model: type[M], advice: str) -> M:
    """The content of a .json or .toml file. InputError where it is invalid; `advice` says where its fields are told."""
    return read_with_digest(path, model, advice)[0]


def read_with_digest(path: Path, model: type[M], advice: str) -> tuple[M, str]:
    """The content as of `read_declared`, and the SHA-256 of the file's text."""
    reader = READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path}: expected a file that ends in {' or '.join(READERS)}")
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise InputError(f"{path}: expected a file")
        text = path.read_text(encoding="utf-8")
        return model.model_validate(reader(text)), hashlib.sha256(text.encode()).hexdigest()
    except ValidationError as error:
        raise InputError(f"{path}: {explained(error)}; {advice}") from None
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # unreadable, neither JSON nor TOML, or nested too deeply
        raise InputError(f"{path}: {error}") from error


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Values that differ whenever the file was changed or replaced; None without a file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
