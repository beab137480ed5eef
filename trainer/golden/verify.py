"""Compares a model with a file of recorded numbers."""

from pathlib import Path

import numpy as np

from index.errors import InputError
from index.reading import reason
from trainer.golden.anchorease import BY_ITERATION, compare
from trainer.golden.correspondence import MODELS, Golden
from trainer.golden.replay import replay

TOLERANCE = 1e-5
OF_ITERATION = 1e-3
"""Tolerance of what is found by subspace iteration."""
ANCHOREASE = "anchorease"


def verify_golden(model_name: str, path: Path) -> dict[str, float]:
    """Build the model with the file's settings, compute what the file records, and compare every number.

    Returns:
        The largest absolute difference of each quantity; of AnchorEASE as a share of the quantity's largest value.

    Raises:
        InputError: unknown model, or the file lacks something that the comparison needs.
    """
    if model_name not in {*MODELS, ANCHOREASE}:
        known = ", ".join(sorted({*MODELS, ANCHOREASE}))
        raise InputError(f"no golden comparison for model {model_name!r}; expected one of {known}")
    golden = _read(path)
    try:
        return compare(golden) if model_name == ANCHOREASE else replay(MODELS[model_name], golden)
    except KeyError as error:
        raise InputError(f"the golden file has no array {error}; is it one of this model?") from None
    except (AssertionError, AttributeError, IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"the golden file's arrays do not fit together ({reason(error)}); is it one of this model, and whole?"
        ) from error


def tolerance_of(quantity: str) -> float:
    """The largest difference of this quantity that passes."""
    return OF_ITERATION if quantity.startswith(BY_ITERATION) else TOLERANCE


def _read(path: Path) -> Golden:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy, zipfile and zlib raise nearly anything on a damaged file
        raise InputError(f"{path} is not a readable golden file (.npz without pickles): {reason(error)}") from error
