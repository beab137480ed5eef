"""Files in which an operator declares something, as JSON or TOML."""

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
    reader = READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path}: expected a file that ends in {' or '.join(READERS)}")
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise InputError(f"{path}: expected a file")
        return model.model_validate(reader(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise InputError(f"{path}: {explained(error)}; {advice}") from None
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # unreadable, neither JSON nor TOML, or nested too deeply
        raise InputError(f"{path}: {error}") from error
