"""A bundle's manifest: model, configuration, data, metrics, and the sha256 of every file."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AwareDatetime, Field, ValidationError

from index import modality
from index.attribute_types import AttributeType
from index.errors import BundleError
from index.frozen_model import FrozenModel
from index.item_map import MapInfo
from index.layout import BundleSizes, layout
from index.reading import read_document, reason
from index.recency import Recency
from index.tables import Precision
from index.validation import explained

FORMAT = 5
# 4: there is no map of the items. 3: also, attributes have no declared types, encoders no files, no people were left
# out, and nothing predicts fold-in or neighbours of an item that training never saw. 2: also, all tables are float32.
# 1: also, every user has an own term, all past items count alike, there is no anchor.
READABLE = (1, 2, 3, 4, 5)
MANIFEST = "manifest.json"
INDEX = "index/item.faiss"
PARTS = ("id", "text", "image", "multimodal", "anchor")
MODALITIES = ("text", "image", "multimodal")
BUNDLE_ID = re.compile(r"\d{8}T\d{6}Z-[a-z0-9][a-z0-9_-]{0,63}-[0-9a-f]{8}")

Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Part = Literal["id", "text", "image", "multimodal", "anchor"]
Modality: TypeAlias = modality.Modality
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what JSON readers other than Python's can hold
Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]


class TriedIndex(FrozenModel):
    """A kind of index that was tried, over so many items, by its cheapest setting with enough recall or its last one.

    recall: recall@20 over held-out users. ms: the median CPU time of one search. outcome: what became of it.
    """

    factory: Annotated[str, Field(max_length=200)]
    settings: dict[str, Whole] = Field(default_factory=dict)
    items: Size
    recall: Annotated[float, Field(ge=0, le=1)]
    ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    build_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    bytes_per_item: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    outcome: Annotated[str, Field(max_length=200)] = ""


class IndexInfo(FrozenModel):
    """The search index: its FAISS factory string, its search settings, and its recall@k against exact search.

    `promised`: the recall@20 that the index was chosen to reach, where one was asked for. `tried`, `why`: the kinds
    that were measured, and the reason for this one, where the index was chosen by measurement.
    """

    factory: str
    settings: dict[str, Whole] = Field(default_factory=dict)
    recall: dict[str, Finite]
    promised: Annotated[float, Field(gt=0, le=1)] | None = None
    tried: Annotated[tuple[TriedIndex, ...], Field(max_length=1_000)] = ()
    why: Annotated[str, Field(max_length=1_000)] = ""


class TablesInfo(FrozenModel):
    """How the tables of vectors other than `item_embeddings` are stored.

    `errors`: by table, the largest norm of a row's rounding relative to the row's norm; it bounds the error of a score
    relative to the norms of its two vectors.
    """

    precision: Precision = "float32"
    errors: dict[str, Finite] = Field(default_factory=dict)


class AnchorInfo(FrozenModel):
    """How much an item is moved towards its anchor, and the widths of the features that predict the anchor.

    item = (1 - l) · parts + l · rho · anchor,   l = kappa / (kappa + n_i) for an item of n_i training interactions;
    with a kappa of 0 no trained item is moved, and the anchor is for items that training never saw.
    """

    kappa: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    rho: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    widths: Annotated[dict[Modality, Size], Field(min_length=1)]
    shortest: dict[Modality, NotNegative] = Field(default_factory=dict)  # centred features up to this length are zero
    fold_in: bool = False  # whether there are arrays that predict what an interaction with the item adds to a user


class EncoderInfo(FrozenModel):
    """An encoder of raw texts or pictures, whose files lie beside the bundles: `encoders/<digest>/` of the registry."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    version: Annotated[str, Field(max_length=200)]  # of weights and preprocessing, as the trainer names it
    width: Size
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of its files


class Manifest(FrozenModel):
    """The contents of `manifest.json`. The bundle id ends in eight hex digits, the digest of all other fields."""

    format: Literal[1, 2, 3, 4, 5]
    bundle_id: Annotated[str, Field(pattern=f"^{BUNDLE_ID.pattern}$")]
    model: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
    config: dict[str, Any]
    data_fingerprint: str
    seed: Whole
    metrics: dict[str, dict[str, Finite]]
    created_at: AwareDatetime
    events_position: Whole | None = None
    fold_in: Literal["exact", "approximate"] = "exact"
    recency: Recency | None = None  # None: all past items count alike
    user_own: bool = True  # False: no user has an own term
    anchor: AnchorInfo | None = None
    tables: TablesInfo = TablesInfo()
    attribute_types: dict[str, AttributeType] = Field(default_factory=dict)
    encoders: dict[Modality, EncoderInfo] = Field(default_factory=dict)
    forgotten: tuple[Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,64}$")], ...] = ()  # receipts of people left out
    n_users: Size
    n_items: Size
    n_interactions: Count
    embedding_size: Size
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    neighbours: tuple[Modality, ...]
    projections: dict[Modality, Size] = Field(default_factory=dict)  # width of the features that each one projects
    map: MapInfo | None = None  # None: there is no map of the items
    index: IndexInfo
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]

    @property
    def sizes(self) -> BundleSizes:
        """The sizes that determine every array's shape."""
        return BundleSizes(
            n_users=self.n_users,
            n_items=self.n_items,
            n_interactions=self.n_interactions,
            embedding_size=self.embedding_size,
            parts=self.parts,
            neighbours=self.neighbours,
            user_own=self.user_own,
            anchor_widths=None if self.anchor is None else tuple(self.anchor.widths.items()),
            anchor_fold_in=self.anchor is not None and self.anchor.fold_in,
            projections=tuple(self.projections.items()),
            clusters=None if self.map is None else self.map.clusters,
            precision=self.tables.precision,
        )


def manifest_bytes(record: dict[str, Any]) -> bytes:
    """The canonical JSON of a manifest: sorted keys, UTF-8; ValueError on NaN."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True).encode()


def digest_of(record: dict[str, Any]) -> str:
    """Eight hex digits of the sha256 of a manifest without its bundle id; they detect an edited manifest."""
    rest = {key: value for key, value in record.items() if key != "bundle_id"}
    return hashlib.sha256(manifest_bytes(rest)).hexdigest()[:8]


def read_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest; BundleError where it is missing, of another format, damaged or edited."""
    try:
        text = read_document(path / MANIFEST)
    except (ValueError, OSError) as error:  # a ValueError: an id of a damaged pointer that no path can hold
        raise BundleError(f"{path} has no readable {MANIFEST} ({reason(error)}); expected a bundle folder") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: bytes, bundle: str) -> Manifest:
    """Parse a manifest; BundleError, naming `bundle`, where it is of another format, damaged or edited."""
    try:
        _check_record(bundle, json.loads(text, object_pairs_hook=_unique, parse_constant=_refused))
        return Manifest.model_validate_json(text)
    except BundleError:
        raise
    except ValidationError as error:
        raise BundleError(f"{bundle}/{MANIFEST}: {explained(error):.400}; expected a whole bundle") from error
    except Exception as error:  # parsers raise more than they document
        raise BundleError(f"{bundle}/{MANIFEST} is no JSON ({reason(error)}); it is truncated or edited") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is in one object twice")
    return found


def _refused(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def _check_record(bundle: str, record: object) -> None:
    found = record.get("format") if isinstance(record, dict) else type(record).__name__
    if found not in READABLE:
        known = " or ".join(map(str, READABLE))
        newer = isinstance(found, int) and found > FORMAT
        advice = ": a newer trainer wrote it; update what reads it, the service first" if newer else ""
        raise BundleError(f"{bundle} has bundle format {repr(found)[:80]}; expected {known}{advice}")
    assert isinstance(record, dict)
    bundle_id = str(record.get("bundle_id"))[:120]
    if not BUNDLE_ID.fullmatch(bundle_id) or bundle_id[-8:] != digest_of(record):
        raise BundleError(
            f"{bundle}/{MANIFEST} says bundle {bundle_id!r}, but its content has the digest {digest_of(record)}; "
            "expected them to agree: it was edited"
        )


def check_file_names(manifest: Manifest, bundle: str) -> None:
    """BundleError unless the manifest lists exactly the files of a bundle with its parts."""
    expected = {*layout(manifest.sizes), INDEX}
    if expected != set(manifest.files):
        names = ", ".join(sorted(expected ^ set(manifest.files)))
        raise BundleError(f"{bundle}/{MANIFEST} lists other files than a bundle of its parts has: {names}")
