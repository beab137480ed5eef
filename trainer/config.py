"""Frozen settings of a training run, read from TOML. An unknown key is an error, never a silent default."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from index.errors import InputError

CONFIG_FOLDER = Path(__file__).parent / "configs"
"""The configurations that ship with the trainer; `--config anchorrec` names one of them."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of every group of settings: immutable, and strict about names and ranges."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PopularitySettings(Settings):
    """Ranks items by their number of training interactions: the floor that training must beat."""

    name: Literal["popularity"] = "popularity"


class BPRSettings(Settings):
    """Matrix factorisation by Bayesian personalised ranking (MODELS.md 3.1)."""

    name: Literal["bpr"] = "bpr"
    embedding_size: Size = 64
    reg_weight: Weight = 1e-2


class LightGCNSettings(Settings):
    """LightGCN (MODELS.md 3.2)."""

    name: Literal["lightgcn"] = "lightgcn"
    embedding_size: Size = 64
    n_layers: Size = 2
    reg_weight: Weight = 1e-4


Modality = Literal["multimodal", "text", "image"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


class FusionWeights(Settings):
    """Weight of each part in the sum that makes user and item embeddings; 0 leaves a part out."""

    id: Weight = 1.0
    multimodal: Weight = 1.0
    text: Weight = 1.0
    image: Weight = 1.0


class ModalityWeights(Settings):
    """Weight of each modality inside AMP (the released code has 1, 0.03 and 0.01)."""

    multimodal: Weight = 1.0
    text: Weight = 1.0
    image: Weight = 1.0


class AnchorRecSettings(Settings):
    """AnchorRec. What the paper's text leaves open (MODELS.md 3.12) is a setting; the defaults are our reading of it.

    `variant = "official"` changes the defaults to those of the released code (MODELS.md 3.11): see OFFICIAL. A
    setting given beside it still wins, so every difference between the two can be switched by itself.
    """

    name: Literal["anchorrec"] = "anchorrec"
    variant: Literal["paper", "official"] = "paper"
    embedding_size: Size = 64
    n_layers: Size = 2
    """Layers of LightGCN over the user-item graph."""
    n_item_layers: Size = 1
    """Layers of propagation over each item-item graph."""
    k: Size = 10
    """Neighbours of an item in each item-item graph, itself included."""
    graph_search: Literal["auto", "exact", "approximate"] = "auto"
    """How they are found; `auto` is exact up to 50,000 items and approximate, with a measured recall, beyond."""
    modalities: tuple[Modality, ...] = MODALITIES
    """Modalities taken in, where the data set has them."""
    feature_scaling: Literal["none", "unit"] = "none"
    """`unit` divides each feature row by its norm before the model sees it."""
    train_features: bool = False
    """Let training move the feature tables, and with them what AMP compares to. The paper says fixed."""
    fusion: FusionWeights = FusionWeights()
    project: bool = True
    """Align, and correct by, small projections of the embeddings; else the origin embeddings themselves."""
    project_from: Literal["origin", "features"] = "origin"
    """What the text and image projections start from: h^m (paper) or the features (released code)."""
    correction_weight: Weight = 0.01
    """lambda: how much of the projected anchor is added to the item embedding."""
    correction_decoder: bool = False
    """Send the projected anchor through one more MLP before it is added."""
    aal_weight: Weight = 0.01
    """lambda_1: anchor-aligned learning (paper, equation 2)."""
    aal_direction: Literal["both", "to_anchor", "from_anchor"] = "both"
    """InfoNCE of each row against the anchors, of each anchor against the rows, or the mean of the two."""
    detach_anchor: Literal["none", "mixture", "both"] = "mixture"
    """In which AAL terms the anchor receives no gradient."""
    temperature: Annotated[float, Field(gt=0)] = 0.2
    """InfoNCE temperature tau."""
    text_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """alpha: share of the text projection in the text-image mixture."""
    amp_weight: Weight = 0.1
    """lambda_2: anchor-modality preservation (paper, equation 3)."""
    amp_form: Literal["cosine", "frobenius"] = "cosine"
    """Mean squared cosine gap over pairs (paper), or the Frobenius norm of unnormalised products (released code)."""
    amp_modality_weights: ModalityWeights = ModalityWeights()
    distinct_items: bool = True
    """AAL and AMP over the batch's distinct positives; else a positive drawn twice is its own false negative."""
    aligned_items: Size = 4096
    """Items of a batch that AAL and AMP look at, at most: evenly spaced ones of more, since the cost is square."""
    user_item_weight: Weight = 0.1
    user_item_form: Literal["cosine", "margin"] = "cosine"
    """AlignRec's 1 - cos(user, positive), or the released code's margin between positive and negative cosines."""
    l2_weight: Weight = 1e-2
    """Squared norm of the batch's final embeddings."""
    smoothness_weight: Weight = 0.0
    """Squared differences of the anchor's origin embeddings along its item graph (released code only)."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_variant(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("variant") == "official":
            return {**OFFICIAL, **values}
        return values


OFFICIAL: dict[str, Any] = {
    "train_features": True,
    "fusion": FusionWeights(image=0.0),
    "project_from": "features",
    "correction_weight": 5e-4,
    "correction_decoder": True,
    "aal_direction": "from_anchor",
    "distinct_items": False,
    "amp_form": "frobenius",
    "amp_modality_weights": ModalityWeights(multimodal=1.0, text=0.03, image=0.01),
    "user_item_weight": 0.01,
    "user_item_form": "margin",
    "smoothness_weight": 0.1,
}
"""What the released code does differently from the paper (docs/anchorrec.md has the list in words)."""


ModelSettings = Annotated[
    PopularitySettings | BPRSettings | LightGCNSettings | AnchorRecSettings, Field(discriminator="name")
]


class TrainingSettings(Settings):
    """The loop: optimiser, schedule, early stopping."""

    epochs: Annotated[int, Field(ge=0)] = 200
    batch_size: Size = 2048
    sampler: Literal["vectorised", "mmrec"] = "vectorised"
    """How an epoch is shuffled and its negatives drawn; `mmrec` repeats the MMRec toolbox's draws bit for bit."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products with weight matrices; parameters, products with graphs and losses are float32 always."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor that the learning rate has lost after `decay_epochs` epochs: lr_e = lr * decay^(e / decay_epochs)."""
    decay_epochs: Size = 50
    patience: Annotated[int, Field(ge=0)] = 20
    """Evaluations without improvement that are borne before training stops."""
    evaluate_every: Size = 1
    """Epochs between two evaluations on the validation split."""
    checkpoint_every: Size = 5
    """Epochs between two checkpoints that an interrupted run resumes from."""
    metric: str = Field(default="recall@20", pattern=r"^(recall|ndcg|precision|map|mrr|hit)@[1-9]\d*$")
    """The validation figure that chooses the best epoch."""


class EvaluationSettings(Settings):
    """What is measured (docs/evaluation.md)."""

    ks: tuple[Size, ...] = (5, 10, 20, 50)
    mask_valid_at_test: bool = False
    """Leave a user's validation items out of the candidates at test; off as published (MODELS.md 1.7)."""
    cold_at_most: Annotated[int, Field(ge=0)] = 5
    """An item with at most so many training interactions is cold."""
    tail_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The long tail: the least popular items that together hold this share of the training interactions."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Resamples of the users behind each confidence interval; 0 leaves the intervals out."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class RunConfig(Settings):
    """Everything that decides a run, besides the data."""

    model: ModelSettings
    seed: int = 999
    device: Literal["auto", "cpu", "cuda"] = "auto"
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


def load_config(name_or_path: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Read a shipped configuration by name or any TOML file by path, then apply `dotted.key=value` overrides.

    Raises:
        InputError: no such file, not TOML, an unknown key (the nearest known one is named), a value out of range.
    """
    path, values = read_shipped(CONFIG_FOLDER, name_or_path, "configuration")
    for override in overrides:
        _override(values, override)
    return parse_config(values, source=str(path))


def parse_config(values: dict[str, Any], *, source: str) -> RunConfig:
    """Validate plain values; `source` names where they came from in the error."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors())
        raise InputError(f"{source}: {problems}") from None


def dump_config(config: RunConfig) -> str:
    """Return the whole configuration as TOML, every default written out; `load_config` reads it back equal."""
    return tomli_w.dumps(config.model_dump(mode="json"))


def shipped_configs() -> list[str]:
    """Names that `--config` takes besides a path."""
    return shipped_names(CONFIG_FOLDER)


def read_shipped(folder: Path, name_or_path: str, what: str) -> tuple[Path, dict[str, Any]]:
    """A TOML file that ships in `folder`, by its name there, or any other by path; InputError calls it `what`."""
    shipped = folder / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(shipped_names(folder))
        raise InputError(f"{what} {name_or_path!r} not found: expected a TOML file or one of {known}")
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None


def shipped_names(folder: Path) -> list[str]:
    """Names that `read_shipped` knows in the folder itself; those in sub-folders are named with them."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def _override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key; the value is read as TOML, and as a bare string where that fails."""
    dotted, found, text = override.partition("=")
    if not found:
        raise InputError(f"override {override!r} is not of the form key=value, e.g. training.epochs=50")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *groups, key = dotted.strip().split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise InputError(f"override {override!r}: {group} is one setting, not a group of settings")
    values[key] = value


def _explain(problem: Any) -> str:
    """One pydantic problem as a sentence; for an unknown key, with the nearest key that exists."""
    # A tagged union puts the tag into the location: model.anchorrec.k is written model.k in the file.
    location = [str(part) for i, part in enumerate(problem["loc"]) if not (i == 1 and problem["loc"][0] == "model")]
    where = ".".join(location)
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']} (found {problem.get('input')!r})"
    # A key that only another model has is no misspelling of itself.
    near = difflib.get_close_matches(location[-1], _known_keys() - {location[-1]}, n=1)
    return f"unknown key {where}" + (f" (did you mean {near[0]!r}?)" if near else "")


def _known_keys() -> set[str]:
    return {key for group in Settings.__subclasses__() for key in group.model_fields}
