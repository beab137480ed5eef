"""A registry in a bucket: S3 and compatible stores, Google Cloud Storage, Azure Blob Storage.

Objects have the names of the files in a registry folder, so copying one into the other moves a registry. A bundle
exists once its manifest does; the manifest is written last and removed first. Small files are replaced conditionally
(ETags, generations): of two concurrent writers the later one gets a WriteConflictError and repeats its change.

Bundles are opened by memory map, so their files are first downloaded into a local folder and checked against the
manifest's sums. Credentials, endpoint and region come from the usual places (AWS_*, GOOGLE_*, AZURE_*, the identity of
the machine or pod).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store, from_url
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from index.bundle_store import CARD, ENCODERS, StoredFile, StoreUnavailableError, WriteConflictError
from index.encoders import parse_card
from index.errors import BundleError, InputError
from index.manifest import BUNDLE_ID, MANIFEST, Manifest, check_file_names, parse_manifest, read_manifest
from index.ranges import check_size
from index.reading import MAX_DOCUMENT
from index.storage import (
    TEMPORARY_PREFIX,
    files_under,
    remove_leftovers,
    remove_tree,
    sync,
    sync_tree,
    temporary_folder,
)

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig

NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound")  # S3 and Google, Azure; any other 404 means a missing object
URL = re.compile(r"(s3|gs|az)://[^/?#]+(/[^?#]*)?")
# Plain HTTP is used only where an endpoint is configured as http://; all others use HTTPS.
CLIENT: "ClientConfig" = {"connect_timeout": "5s", "timeout": "10s", "allow_http": True}
TRANSFER_CLIENT: "ClientConfig" = {**CLIENT, "timeout": "60s"}  # a chunk of a file takes longer than other requests
RETRIES: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=15)}
NO_RETRIES: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=15)}
LIST_PAGE = 1_000  # the most that stores return in one response
PARALLEL_TRANSFERS = 8  # files
CHUNK = 16 << 20  # bytes of one request: after an error one chunk is requested again, not the whole file
ABANDONED_AFTER = timedelta(days=1)  # without progress, after which an unfinished upload is removed

T = TypeVar("T")
Store = S3Store | GCSStore | AzureStore
OnBytes = Callable[[int], None]


class ProgressDisplay(Protocol):
    """Shows the progress of a transfer of `n_bytes`; the context yields the callback for each chunk's bytes."""

    def __call__(self, what: str, n_bytes: int) -> AbstractContextManager[OnBytes]: ...


def no_progress(what: str, n_bytes: int) -> AbstractContextManager[OnBytes]:
    """A ProgressDisplay that shows nothing."""
    return nullcontext(lambda _: None)


@contextmanager
def progress_bar(what: str, n_bytes: int) -> Iterator[OnBytes]:
    """A ProgressDisplay that draws a bar and removes it at the end; draws nothing where there is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=n_bytes)
        yield lambda n: progress.advance(task, n)


class BucketStore:
    """A BundleStore (index/bundle_store.py) below one URL, with local copies of bundles in `folder`.

    Safe from several threads. The folder of copies belongs to one process: `evict_copies` empties it.
    """

    is_remote = True

    def __init__(self, url: str, folder: Path, *, progress: ProgressDisplay = no_progress) -> None:
        if not URL.fullmatch(url):
            raise InputError(
                f"{url[:120]!r} names no bucket; expected a URL such as s3://bucket/bundles, or gs://, az://"
            )
        self.url = url.rstrip("/")
        self.folder = folder
        self._progress = progress
        self._store = _open_store(self.url, CLIENT, RETRIES)
        self._transfer_store = _open_store(self.url, TRANSFER_CLIENT, RETRIES)
        # A retry of a conditional write whose response was lost would conflict with the write itself.
        self._store_without_retries = _open_store(self.url, CLIENT, NO_RETRIES)
        self._manifests: dict[str, Manifest] = {}
        self._used = Counter[str]()
        self._fetching = Lock()

    def __str__(self) -> str:
        return self.url

    def ids(self) -> list[str]:
        names = (name.split("/") for name in self._object_sizes(""))
        found = [parts[0] for parts in names if parts[1:] == [MANIFEST] and BUNDLE_ID.fullmatch(parts[0])]
        for gone in self._manifests.keys() - set(found):
            self._manifests.pop(gone, None)
        return found

    def holds(self, bundle_id: str) -> bool:
        return self._unless_missing(lambda: obstore.head(self._store, f"{bundle_id}/{MANIFEST}")) is not None

    def location(self, bundle_id: str) -> str:
        return f"{self.url}/{bundle_id}"

    def manifest(self, bundle_id: str) -> Manifest:
        """The bundle's manifest, cached: it never changes."""
        known = self._manifests.get(bundle_id)
        if known is None:
            known = parse_manifest(self._manifest_bytes(bundle_id), self.location(bundle_id))
            self._manifests[bundle_id] = known
        return known

    def size(self, bundle_id: str) -> int:
        return sum(self._object_sizes(f"{bundle_id}/").values())

    def fetch(self, bundle_id: str) -> Path:
        """Download the bundle once; BundleError where a file's sum is not the manifest's."""
        path = self.folder / bundle_id
        with self._fetching:
            if not (path / MANIFEST).is_file():
                self._copy(bundle_id, path)
        return path

    def _copy(self, bundle_id: str, path: Path) -> None:
        text = self._manifest_bytes(bundle_id)
        manifest = parse_manifest(text, self.location(bundle_id))
        check_file_names(manifest, self.location(bundle_id))  # they become paths
        sizes = self._sizes_of(bundle_id, manifest.files)
        for name in manifest.files:
            check_size(f"{self.location(bundle_id)}/{name}", sizes[f"{bundle_id}/{name}"], manifest.sizes)
        self._download_folder(path, bundle_id, manifest.files, sizes, (MANIFEST, text))

    def _sizes_of(self, place: str, sums: Mapping[str, str]) -> dict[str, int]:
        sizes = self._object_sizes(f"{place}/")
        if lacking := sorted(name for name in sums if f"{place}/{name}" not in sizes):
            raise BundleError(f"{self.url}/{place} lacks {', '.join(lacking)}; expected the manifest's files")
        return sizes

    def _download_folder(
        self, path: Path, place: str, sums: Mapping[str, str], sizes: Mapping[str, int], last: tuple[str, bytes]
    ) -> None:
        """Download the files of these sums and write the last one; BundleError where a sum is another one."""
        with temporary_folder(self.folder) as folder, self._progress("fetching", sum(sizes.values())) as transferred:

            def download(name: str) -> None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                key = f"{place}/{name}"
                found = self._download(key, sizes[key], folder / name, transferred)
                if found != sums[name]:
                    expected = f"expected {sums[name]}: it is damaged or edited"
                    raise BundleError(f"{self.url}/{key} has sha256 {found}; {expected}")

            _each(download, sums)
            (folder / last[0]).write_bytes(last[1])
            sync_tree(folder)
            self._remove_copy(path)  # a copy without its last file is damaged
            path.parent.mkdir(exist_ok=True)
            folder.rename(path)
            sync(path.parent)

    def _download(self, key: str, size: int, path: Path, transferred: OnBytes) -> str:
        """Write an object into a new file; returns its sha256."""
        sums = hashlib.sha256()
        with path.open("xb") as file:
            for start in range(0, size, CHUNK):
                with self._store_errors():
                    chunk = obstore.get_range(self._transfer_store, key, start=start, end=min(size, start + CHUNK))
                file.write(chunk)
                sums.update(chunk)
                transferred(len(chunk))
        return sums.hexdigest()

    def add_bundle(self, path: Path) -> str:
        """Upload the files, the manifest last; `remove_leftovers` removes the rest of an unfinished upload."""
        self._upload_folder(path, path.name, MANIFEST)
        return self.location(path.name)

    def _upload_folder(self, path: Path, place: str, last: str) -> None:
        files = files_under(path)
        with self._progress("sending", sum(file.stat().st_size for file in files.values())) as transferred:

            def upload(name: str) -> None:
                with self._store_errors():
                    obstore.put(self._transfer_store, f"{place}/{name}", files[name])
                transferred(files[name].stat().st_size)

            _each(upload, files.keys() - {last})
            upload(last)

    def discard(self, bundle_id: str) -> None:
        self._discard(bundle_id, MANIFEST)

    def _discard(self, place: str, first: str) -> None:
        with self._store_errors():
            obstore.delete(self._store, f"{place}/{first}")
            if rest := list(self._object_sizes(f"{place}/")):
                obstore.delete(self._store, rest)

    def encoders(self) -> dict[str, datetime]:
        found = ((one["path"].split("/"), one["last_modified"]) for one in self._list_objects(f"{ENCODERS}/"))
        return {parts[1]: at for parts, at in found if parts[2:] == [CARD]}

    def add_encoder(self, path: Path, digest: str) -> None:
        """Upload it unless it is there, its card last, and keep the files as the copy."""
        if digest not in self.encoders():
            self._upload_folder(path, f"{ENCODERS}/{digest}", CARD)
        with self._fetching:
            copy = self.folder / ENCODERS / digest
            if not (copy / CARD).is_file():
                self._remove_copy(copy)
                copy.parent.mkdir(exist_ok=True)
                path.rename(copy)

    def fetch_encoder(self, digest: str) -> Path | None:
        """Download the encoder once; BundleError where a file's sum is another one."""
        path, place = self.folder / ENCODERS / digest, f"{ENCODERS}/{digest}"
        with self._fetching:
            if not (path / CARD).is_file():
                card = self.read(f"{place}/{CARD}")
                if card is None:
                    return None
                sums = parse_card(card.data, digest).files
                self._download_folder(path, place, sums, self._sizes_of(place, sums), (CARD, card.data))
        return path

    def discard_encoder(self, digest: str) -> None:
        self._discard(f"{ENCODERS}/{digest}", CARD)

    def remove_leftovers(self) -> None:
        """Remove uploads that did not finish and made no progress for a day."""
        whole, newest = set[str](), dict[str, datetime]()
        names: list[str] = []
        for found in self._list_objects(""):
            place, _, name = found["path"].rpartition("/")
            if BUNDLE_ID.fullmatch(place.partition("/")[0]):
                place, _, name = found["path"].partition("/")
            elif not place.startswith(f"{ENCODERS}/"):
                continue
            names.append(found["path"])
            newest[place] = max(newest.get(place, found["last_modified"]), found["last_modified"])
            if name in (MANIFEST, CARD):
                whole.add(place)
        old = {one for one, last in newest.items() if datetime.now(UTC) - last > ABANDONED_AFTER} - whole
        doomed = [name for name in names if any(name.startswith(f"{one}/") for one in old)]
        if doomed:
            with self._store_errors():
                obstore.delete(self._store, doomed)

    @contextmanager
    def in_use(self, bundle_id: str) -> Iterator[None]:
        self._used[bundle_id] += 1
        try:
            yield
        finally:
            self._used[bundle_id] -= 1

    def evict_copies(self, kept: set[str]) -> None:
        """Remove copies; a process that has one open keeps its memory maps."""
        with self._fetching:
            kept = kept | set(+self._used)
            remove_leftovers(self.folder)
            copies = [path for path in self.folder.glob("*") if BUNDLE_ID.fullmatch(path.name)]
            for copy in copies:
                if copy.name not in kept:
                    self._remove_copy(copy)
            named = _encoders_of(copy for copy in copies if copy.name in kept)
            for encoder in (self.folder / ENCODERS).glob("*"):
                if encoder.name not in named:
                    self._remove_copy(encoder)

    def drop_copy(self, bundle_id: str) -> bool:
        with self._fetching:
            self._remove_copy(self.folder / bundle_id)
        return True

    def _remove_copy(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            remove_tree(path.rename(self.folder / f"{TEMPORARY_PREFIX}removed-{path.name}"))

    def read(self, name: str) -> StoredFile | None:
        return self._unless_missing(lambda: _stored_file(obstore.get(self._store, name)))

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        """Replace the file; after a StoreUnavailableError it may have been replaced or not."""
        with self._store_errors():
            try:
                obstore.put(
                    self._store_without_retries, name, data, mode="create" if before is None else before.version
                )
            except (AlreadyExistsError, PreconditionError) as error:
                raise WriteConflictError(name) from error

    def remove(self, name: str) -> None:
        self._unless_missing(lambda: obstore.delete(self._store, name))

    def change_lock(self) -> AbstractContextManager[None]:
        """No lock: a concurrent change shows as a WriteConflictError of `replace`."""
        return nullcontext()

    def _manifest_bytes(self, bundle_id: str) -> bytes:
        try:
            stored = self.read(f"{bundle_id}/{MANIFEST}")
        except StoreUnavailableError:
            raise
        except InputError as error:
            raise BundleError(str(error)) from error
        if stored is None:
            raise BundleError(f"{self.location(bundle_id)} has no {MANIFEST}; expected a whole bundle")
        return stored.data

    def _object_sizes(self, prefix: str) -> dict[str, int]:
        """Sizes by name."""
        return {found["path"]: found["size"] for found in self._list_objects(prefix)}

    def _list_objects(self, prefix: str) -> Iterator[Any]:
        with self._store_errors():
            for page in obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=LIST_PAGE):
                yield from page

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Turn errors of the store's library into StoreUnavailableError."""
        try:
            yield
        except (FileNotFoundError, BaseError) as error:
            raise StoreUnavailableError(f"{self.url}: {_reason(error)}") from error

    def _unless_missing(self, send: Callable[[], T]) -> T | None:
        """Send a request; None where the object is missing. A missing bucket is an error, not an empty one."""
        with self._store_errors():
            try:
                return send()
            except FileNotFoundError as error:
                if NO_BUCKET.search(str(error)):
                    raise
                return None


def _encoders_of(copies: Iterable[Path]) -> set[str]:
    """The digests of the encoders that the manifests of these bundles name."""
    named = set[str]()
    for copy in copies:
        with suppress(BundleError):  # a damaged copy names none
            named |= {encoder.digest for encoder in read_manifest(copy).encoders.values()}
    return named


def _open_store(url: str, client: "ClientConfig", retries: "RetryConfig") -> Store:
    try:
        store = from_url(url, client_options=client, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise StoreUnavailableError(f"{url}: {_reason(error)}") from error
    assert isinstance(store, Store)
    return store


def _stored_file(found: "GetResult") -> StoredFile:
    """InputError where the object is too large to be one of ours."""
    if found.meta["size"] > MAX_DOCUMENT:
        raise InputError(f"{found.meta['path']} has {found.meta['size']:,} bytes; expected at most {MAX_DOCUMENT:,}")
    version = {key: found.meta[key] for key in ("e_tag", "version") if found.meta[key] is not None}
    return StoredFile(bytes(found.bytes()), version)


def _reason(error: Exception) -> str:
    """The error's first line, without the library's context."""
    return "there is no such bucket" if NO_BUCKET.search(str(error)) else str(error).strip().split("\n")[0][:300]


def _each(do: Callable[[str], None], names: Any) -> None:
    """Call `do` for every name, several in parallel; the first error is raised once the running calls have ended."""
    with ThreadPoolExecutor(PARALLEL_TRANSFERS, thread_name_prefix="bucket") as pool:
        tasks = [pool.submit(do, name) for name in sorted(names)]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def copies_folder(url: str, below: Path) -> Path:
    """The folder of one bucket's copies below a folder that holds those of several buckets."""
    return below / quote(url.rstrip("/"), safe="")
