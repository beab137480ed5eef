"""`python -m trainer prepare`: from what people have to the canonical dataset folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from index.attribute_types import ATTRIBUTE_TYPES, AttributeType
from index.cli import command_line
from index.errors import InputError
from trainer.data import Recipe, Source
from trainer.datasets import amazon as amazon_dumps
from trainer.datasets import mmrec as mmrec_layout
from trainer.datasets import table as any_table
from trainer.datasets.attribute_summary import print_attributes
from trainer.datasets.encoding import AUTO, FEATURE_CACHE, NONE, EncodingOptions, feature_steps
from trainer.datasets.item_table import ItemTableOptions
from trainer.datasets.separated import TextFormat
from trainer.datasets.summary import print_summary
from trainer.datasets.table_attributes import EVERY_ATTRIBUTE, SEPARATOR, AttributeOptions
from trainer.datasets.times import TimeOptions, TimeUnit
from trainer.features import load_features
from trainer.interaction_filters import Repeated, UnknownItems
from trainer.parquet import read_parquet
from trainer.prepare import prepare_dataset, refuse_occupied
from trainer.splits import SplitKind

prepare_app = command_line(
    "Turn interactions, texts and images into one dataset folder, with ids, splits and features."
)

Device = Literal["auto", "cpu", "cuda"]
Out = Annotated[Path, typer.Option(help="Folder to write; it appears when it is whole.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a dataset that is already there.")]
Split = Annotated[
    SplitKind,
    typer.Option(help="random or time: per user; global-time: by quantiles of all times; given: labels of the input."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random split.")]
KCore = Annotated[int, typer.Option(min=0, help="Fewest interactions of a user and of an item, iterated; 0: off.")]
Unknown = Annotated[UnknownItems, typer.Option(help="Items of interactions that the item table lacks.")]
Cold = Annotated[Literal["keep", "drop"], typer.Option(help="Items of the item table without interactions.")]
TextEncoder = Annotated[str, typer.Option(help="minilm, a sentence-transformers model by name or path, or none.")]
ImageEncoder = Annotated[str, typer.Option(help="efficientnet-lite0, another model by name or path, or none.")]
Fused = Annotated[str, typer.Option(help="auto: out of text and image features; none; or FILE.npy.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of encoded features  [default: .feature-cache beside OUT]")]
BatchSize = Annotated[int, typer.Option(min=1, help="Texts or images encoded at once.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the encoders run.")]
Images = Annotated[Path | None, typer.Option(help="Folder of pictures named <item id>.jpg, .png, .webp ...")]
Items = Annotated[Path | None, typer.Option(help="Item table: csv, tsv, jsonl (also .gz), parquet and their kin.")]
Column = Annotated[str | None, typer.Option(help="Found by its usual names if not given.")]
Delimiter = Annotated[str | None, typer.Option(help="Between values; found among , ; | :: and tab if not given.")]
Encoding = Annotated[str | None, typer.Option(help="Of text; UTF-8, UTF-16 and UTF-32 are found if not given.")]
Header = Annotated[list[str] | None, typer.Option(help="Names of the columns of a file without a header.")]
Quotes = Annotated[bool, typer.Option(help="Whether a quote at the beginning of a value encloses it, or is a letter.")]
IdForm = Annotated[
    Literal["auto", "exact"],
    typer.Option("--ids", help="auto: without surrounding blanks and the .0 of whole numbers; exact: as written."),
]
TimeUnitOption = Annotated[
    TimeUnit, typer.Option("--time-unit", help="Of times that are numbers; auto: told by the size of each value.")
]
TimeFormat = Annotated[
    str | None, typer.Option(help="Of times that are text, as strptime takes it, e.g. %d/%m/%Y  [default: ISO 8601]")
]
Columns = Annotated[list[str] | None, typer.Option(help="Separated by commas, or the option repeated.")]
AttributeColumns = Annotated[
    list[str] | None, typer.Option(help="These alone are attributes, or none.  [default: all that are nothing else]")
]
ListColumns = Annotated[list[str] | None, typer.Option(help="Columns with several values in one, as red|blue.")]
ListSeparator = Annotated[str, typer.Option(help="Between the values of --list-columns.")]
AttributeTypes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=TYPE,...", help=f"Of {', '.join(ATTRIBUTE_TYPES)}; told by the values where not declared."
    ),
]


@prepare_app.command()
def table(
    interactions: Annotated[Path, typer.Argument(help="csv, tsv, jsonl (also .gz), parquet and their kin.")],
    *,
    out: Out,
    items: Items = None,
    images: Images = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    columns: Header = None,
    quotes: Quotes = True,
    ids: IdForm = "auto",
    user_column: Column = None,
    item_column: Column = None,
    rating_column: Column = None,
    time_column: Column = None,
    time_unit: TimeUnitOption = "auto",
    time_format: TimeFormat = None,
    min_rating: Annotated[float | None, typer.Option(help="Lowest rating that counts as an interaction.")] = None,
    repeated: Annotated[
        Repeated, typer.Option(help="Which interactions of one user with one item to keep.")
    ] = "earliest",
    k_core: KCore = 5,
    id_column: Column = None,
    title_column: Column = None,
    category_column: Column = None,
    text_columns: Columns = None,
    attribute_columns: AttributeColumns = None,
    list_columns: ListColumns = None,
    list_separator: ListSeparator = SEPARATOR,
    attribute_types: AttributeTypes = None,
    items_delimiter: Delimiter = None,
    items_encoding: Encoding = None,
    items_columns: Header = None,
    items_quotes: Quotes = True,
    image_column: Annotated[str | None, typer.Option(help="Column of picture paths, below --images if given.")] = None,
    unknown_items: Unknown = "keep",
    cold_items: Cold = "keep",
    split: Split = "random",
    seed: Seed = 0,
    text_features: Annotated[Path | None, typer.Option(help="Ready features, rows as in the item table.")] = None,
    image_features: Annotated[Path | None, typer.Option(help="Ready features, rows as in the item table.")] = None,
    fused: Annotated[str, typer.Option(help="auto, none, or FILE.npy with rows as in the item table.")] = AUTO,
    text_encoder: TextEncoder = "minilm",
    image_encoder: ImageEncoder = "efficientnet-lite0",
    cache: Cache = None,
    batch_size: BatchSize = 64,
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Any table of interactions, with a table of items and pictures where there are any.

    Example: python -m trainer prepare table ratings.csv --items items.csv --images posters --out data/films
    """
    ready = {"text": text_features, "image": image_features}
    if fused not in (AUTO, NONE):
        ready["multimodal"], fused = Path(fused), NONE
    described = _described(
        items,
        id_column=id_column,
        title_column=title_column,
        category_column=category_column,
        text_columns=_names(text_columns),
        attributes=_attributes(attribute_columns, list_columns, list_separator, attribute_types),
        image_column=image_column,
        images=images,
        exact_ids=ids == "exact",
        written=_items_text(items_delimiter, items_encoding, items_columns, items_quotes, encoding),
    )
    options = any_table.InteractionOptions(
        file=interactions,
        written=TextFormat(delimiter, encoding, _names(columns), quotes),
        exact_ids=ids == "exact",
        user_column=user_column,
        item_column=item_column,
        rating_column=rating_column,
        time_column=time_column,
        times=TimeOptions(time_unit, time_format),
        min_rating=min_rating,
        repeated=repeated,
    )
    features = {modality: file for modality, file in ready.items() if file}
    if items is None:  # then items are known from interactions only, and what the k-core drops is no candidate
        cold_items = "drop"
    _prepare(
        lambda: any_table.read(
            options,
            described,
            images=images,
            features={modality: load_features(file) for modality, file in features.items()},
        ),
        out,
        Recipe(split=split, seed=seed, k_core=k_core, unknown_items=unknown_items, cold_items=cold_items),
        EncodingOptions(_cache(cache, out), text_encoder, image_encoder, fused, batch_size, device),
        overwrite,
    )


@prepare_app.command()
def mmrec(
    folder: Annotated[Path, typer.Argument(help="Folder with NAME.inter, image_feat.npy, text_feat.npy.")],
    *,
    out: Out,
    multimodal: Annotated[
        Path | None, typer.Option(help="Fused features: a .npy file, or a folder whose image_feat.npy holds them.")
    ] = None,
    encoding: Encoding = None,
    items: Items = None,
    items_delimiter: Delimiter = None,
    items_encoding: Encoding = None,
    items_columns: Header = None,
    items_quotes: Quotes = True,
    id_column: Column = None,
    title_column: Column = None,
    category_column: Column = None,
    text_columns: Columns = None,
    attribute_columns: AttributeColumns = None,
    list_columns: ListColumns = None,
    list_separator: ListSeparator = SEPARATOR,
    attribute_types: AttributeTypes = None,
    images: Images = None,
    time_unit: TimeUnitOption = "auto",
    time_format: TimeFormat = None,
    split: Split = "given",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """MMRec's layout as it is: given labels, ready features, rows numbered as in the files.

    Example: python -m trainer prepare mmrec data/baby --multimodal data/baby_beit3 --out data/baby-prepared
    """
    described = _described(
        items,
        id_column=id_column,
        title_column=title_column,
        category_column=category_column,
        text_columns=_names(text_columns),
        attributes=_attributes(attribute_columns, list_columns, list_separator, attribute_types),
        images=images,
        written=_items_text(items_delimiter, items_encoding, items_columns, items_quotes, encoding),
    )
    _prepare(
        lambda: mmrec_layout.read(
            folder,
            multimodal=multimodal,
            items=described,
            images=images,
            encoding=encoding,
            times=TimeOptions(time_unit, time_format),
        ),
        out,
        Recipe(split=split, seed=seed),
        None,
        overwrite,
    )


@prepare_app.command()
def amazon(
    interactions: Annotated[Path, typer.Argument(help="reviews_*.json.gz, or ratings_*.csv without header.")],
    *,
    out: Out,
    metadata: Annotated[Path | None, typer.Option(help="meta_*.json.gz: one Python literal a line.")] = None,
    image_features: Annotated[
        Path | None, typer.Option(help="image_features_*.b: 10-byte ASIN, 4,096 float32.")
    ] = None,
    images: Images = None,
    k_core: KCore = 5,
    unknown_items: Unknown = "keep",
    cold_items: Cold = "drop",
    split: Split = "random",
    seed: Seed = 0,
    fused: Fused = AUTO,
    text_encoder: TextEncoder = "minilm",
    image_encoder: ImageEncoder = "efficientnet-lite0",
    cache: Cache = None,
    batch_size: BatchSize = 64,
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """The Amazon dumps of 2014, filtered and split as the papers did, but with a seed.

    Example: python -m trainer prepare amazon reviews_Baby.json.gz --metadata meta_Baby.json.gz --image-features
    image_features_Baby.b --out data/baby
    """
    _prepare(
        lambda: amazon_dumps.read(
            interactions, metadata=metadata, image_features=image_features, images=images, k=k_core
        ),
        out,
        Recipe(split=split, seed=seed, k_core=k_core, unknown_items=unknown_items, cold_items=cold_items),
        EncodingOptions(_cache(cache, out), text_encoder, image_encoder, fused, batch_size, device),
        overwrite,
    )


@prepare_app.command()
def shop(
    *,
    out: Out,
    n_items: Annotated[int, typer.Option(min=1, help="Products, a share of them new.")] = 2_000,
    n_users: Annotated[int, typer.Option(min=1, help="People.")] = 3_000,
    n_interactions: Annotated[int, typer.Option(min=1, help="Purchases, about.")] = 60_000,
    images: Annotated[Path | None, typer.Option(help="Folder to draw into  [default: OUT-images]")] = None,
    k_core: KCore = 0,
    cold_items: Cold = "keep",
    split: Split = "random",
    seed: Annotated[int, typer.Option(min=0, help="Of the shop and of the random split.")] = 0,
    fused: Fused = AUTO,
    text_encoder: TextEncoder = "minilm",
    image_encoder: ImageEncoder = "efficientnet-lite0",
    cache: Cache = None,
    batch_size: BatchSize = 64,
    device: DeviceOption = "auto",
    overwrite: Overwrite = False,
) -> None:
    """The demo shop, generated: products, drawn pictures, words, and people with tastes.

    Example: python -m trainer prepare shop --out data/shop
    """
    from trainer.datasets.shop import read as read_shop  # noqa: PLC0415 - drawing is needed nowhere else

    image_folder = (images or out.with_name(f"{out.name}-images")).absolute()
    _prepare(
        lambda: read_shop(seed, image_folder, n_items, n_users, n_interactions),
        out,
        Recipe(split=split, seed=seed, k_core=k_core, cold_items=cold_items),
        EncodingOptions(_cache(cache, out), text_encoder, image_encoder, fused, batch_size, device),
        overwrite,
    )


def _prepare(
    read: Callable[[], Source], out: Path, recipe: Recipe, encoding: EncodingOptions | None, overwrite: bool
) -> None:
    refuse_occupied(out, overwrite)
    steps = feature_steps(encoding) if encoding else {}
    source = read()
    if encoding:
        made_by = {name: getattr(encoding, name) for name in ("text_encoder", "image_encoder", "fused")}
        source = replace(source, options={**source.options, **made_by})
    info = prepare_dataset(source, out, recipe, feature_steps=steps, overwrite=overwrite)
    console = Console()
    print_summary(info, console)
    print_attributes(read_parquet(out / "items.parquet", ["attributes"])["attributes"], info.attribute_types, console)


def _described(items: Path | None, **options: Any) -> ItemTableOptions | None:
    if items:
        return ItemTableOptions(file=items, **options)
    given = [name for name, value in options.items() if value and name.endswith(("_column", "_columns"))]
    given += ["attribute_columns"] if options["attributes"] != EVERY_ATTRIBUTE else []
    if given:
        raise InputError(f"--{given[0].replace('_', '-')} is of an item table; name the table with --items")
    return None


def _attributes(
    columns: list[str] | None, lists: list[str] | None, separator: str, types: list[str] | None
) -> AttributeOptions:
    if not separator:
        raise InputError("--list-separator is empty; expected the text between two values of a list, such as |")
    named = None if columns is None else () if columns == [NONE] else _names(columns)
    return AttributeOptions(named, _names(lists), separator, dict(map(_typed, _names(types))))


def _typed(declaration: str) -> tuple[str, AttributeType]:
    name, _, written = declaration.rpartition("=")
    kind = next((kind for kind in ATTRIBUTE_TYPES if kind == written.strip()), None)
    if kind is None or not name.strip():
        raise InputError(f"--attribute-types {declaration!r}: expected NAME=TYPE, TYPE of {', '.join(ATTRIBUTE_TYPES)}")
    return name.strip(), kind


def _items_text(
    delimiter: str | None, encoding: str | None, columns: list[str] | None, quotes: bool, fallback: str | None
) -> TextFormat:
    """The format of the item table, whose options begin with --items-; --encoding is for it too where it helps."""
    return TextFormat(delimiter, encoding, _names(columns), quotes, fallback, "--items-")


def _names(values: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())


def _cache(cache: Path | None, out: Path) -> Path:
    return cache or out.absolute().parent / FEATURE_CACHE
