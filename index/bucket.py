"""A registry in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

The objects are named as the files of a folder are, so copying one into the other moves a registry. A bundle is there
once its manifest is, which is written last and removed first. Small files are replaced on condition that they are
what was read (ETags, generations), so of two who change one at the same time, one is told to begin again.

Whoever opens a bundle maps its files into memory, so they are fetched into a folder of this machine first, each
against the manifest's sum. Credentials, endpoint and region come from where the store's own tools look for them
(AWS_*, GOOGLE_*, AZURE_*, the machine's or the pod's identity).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store, from_url
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from index.bundle_store import AwayError, ChangedError, Sheet
from index.errors import InputError
from index.manifest import BUNDLE_ID, MANIFEST, BundleError, Manifest, check_names, parse_manifest
from index.storage import TEMPORARY_PREFIX, files_under, remove_leftovers, sync, sync_tree, temporary_folder

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig

NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound")  # S3 and Google, Azure; another 404 is of what is asked for
URL = re.compile(r"(s3|gs|az)://[^/?#]+(/[^?#]*)?")
# Plain HTTP is for whoever names an endpoint by http://; all others are asked by HTTPS.
CLIENT: "ClientConfig" = {"connect_timeout": "5s", "timeout": "10s", "allow_http": True}
CARRIER: "ClientConfig" = {**CLIENT, "timeout": "60s"}  # a piece of a file may take longer than a question
RETRIES: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=15)}
NO_RETRIES: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=15)}
LISTED_AT_ONCE = 1_000  # as many as stores answer with
AT_ONCE = 8  # files that are on their way together
PIECE = 16 << 20  # bytes of one request: a piece that is lost is asked for again, and not the whole file
LEFT_FOR_GOOD = timedelta(days=1)  # an upload that has not ended by then is not going to

T = TypeVar("T")
Store = S3Store | GCSStore | AzureStore
OnBytes = Callable[[int], None]


class Watch(Protocol):
    """Shows how a transfer goes: entered with what and how many bytes, it gives whom to tell of each piece."""

    def __call__(self, what: str, n_bytes: int) -> AbstractContextManager[OnBytes]:
        """See the class."""
        ...


def unwatched(what: str, n_bytes: int) -> AbstractContextManager[OnBytes]:
    """Nobody looks on."""
    return nullcontext(lambda _: None)


@contextmanager
def shown(what: str, n_bytes: int) -> Iterator[OnBytes]:
    """A bar on the terminal, gone at the end; nothing where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=n_bytes)
        yield lambda n: progress.advance(task, n)


class Bucket:
    """A Shelf (index/bundle_store.py) below one URL, and the folder of this machine that copies are kept in.

    May be used by several threads. A folder for copies belongs to one process: `forget_copies` empties it.
    """

    is_remote = True

    def __init__(self, url: str, folder: Path, *, watch: Watch = unwatched) -> None:
        if not URL.fullmatch(url):
            raise InputError(
                f"{url[:120]!r} names no bucket; expected a URL such as s3://bucket/bundles, or gs://, az://"
            )
        self.url = url.rstrip("/")
        self.folder = folder
        self._watch = watch
        self._store = _opened(self.url, CLIENT, RETRIES)
        self._carrier = _opened(self.url, CARRIER, RETRIES)
        # A conditional write that is sent again after a lost answer would be refused because of itself.
        self._once = _opened(self.url, CLIENT, NO_RETRIES)
        self._manifests: dict[str, Manifest] = {}
        self._used = Counter[str]()
        self._fetching = Lock()

    def __str__(self) -> str:
        return self.url

    def ids(self) -> list[str]:
        """See Shelf."""
        names = (name.split("/") for name in self._objects(""))
        found = [parts[0] for parts in names if parts[1:] == [MANIFEST] and BUNDLE_ID.fullmatch(parts[0])]
        for gone in self._manifests.keys() - set(found):
            self._manifests.pop(gone, None)
        return found

    def holds(self, bundle_id: str) -> bool:
        """See Shelf."""
        return self._unless_missing(lambda: obstore.head(self._store, f"{bundle_id}/{MANIFEST}")) is not None

    def location(self, bundle_id: str) -> str:
        """See Shelf."""
        return f"{self.url}/{bundle_id}"

    def manifest(self, bundle_id: str) -> Manifest:
        """See Shelf. It never changes, so it is asked for once."""
        known = self._manifests.get(bundle_id)
        if known is None:
            known = parse_manifest(self._manifest_bytes(bundle_id), self.location(bundle_id))
            self._manifests[bundle_id] = known
        return known

    def size(self, bundle_id: str) -> int:
        """See Shelf."""
        return sum(self._objects(f"{bundle_id}/").values())

    def fetch(self, bundle_id: str) -> Path:
        """See Shelf: a copy, made once. BundleError where a file is not what the manifest says."""
        path = self.folder / bundle_id
        with self._fetching:
            if not (path / MANIFEST).is_file():
                self._copy(bundle_id, path)
        return path

    def _copy(self, bundle_id: str, path: Path) -> None:
        text = self._manifest_bytes(bundle_id)
        manifest = parse_manifest(text, self.location(bundle_id))
        check_names(manifest, self.location(bundle_id))  # they become paths
        sizes = self._objects(f"{bundle_id}/")
        lacking = sorted(name for name in manifest.files if f"{bundle_id}/{name}" not in sizes)
        if lacking:
            raise BundleError(f"{self.location(bundle_id)} lacks {', '.join(lacking)}; expected the manifest's files")
        with temporary_folder(self.folder) as folder, self._watch("fetching", sum(sizes.values())) as tell:

            def one(name: str) -> None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                key = f"{bundle_id}/{name}"
                found = self._download(key, sizes[key], folder / name, tell)
                if found != manifest.files[name]:
                    expected = f"expected {manifest.files[name]}: it is damaged or edited"
                    raise BundleError(f"{self.url}/{key} has sha256 {found}; {expected}")

            _each(one, manifest.files)
            (folder / MANIFEST).write_bytes(text)
            sync_tree(folder)
            if not path.exists():
                folder.rename(path)
                sync(self.folder)

    def _download(self, key: str, size: int, path: Path, tell: OnBytes) -> str:
        """Write an object into a new file; returns its sha256."""
        sums = hashlib.sha256()
        with path.open("xb") as file:
            for start in range(0, size, PIECE):
                with self._asking():
                    piece = obstore.get_range(self._carrier, key, start=start, end=min(size, start + PIECE))
                file.write(piece)
                sums.update(piece)
                tell(len(piece))
        return sums.hexdigest()

    def take_in(self, path: Path) -> str:
        """See Shelf: sent, the manifest last. What was sent by half is no bundle, and goes with the leftovers."""
        files = files_under(path)
        with self._watch("sending", sum(file.stat().st_size for file in files.values())) as tell:

            def one(name: str) -> None:
                with self._asking():
                    obstore.put(self._carrier, f"{path.name}/{name}", files[name])
                tell(files[name].stat().st_size)

            _each(one, files.keys() - {MANIFEST})
            one(MANIFEST)
        return self.location(path.name)

    def discard(self, bundle_id: str) -> None:
        """See Shelf."""
        with self._asking():
            obstore.delete(self._store, f"{bundle_id}/{MANIFEST}")
            obstore.delete(self._store, list(self._objects(f"{bundle_id}/")))

    def remove_leftovers(self) -> None:
        """See Shelf: uploads that did not end, a day after they last went on."""
        whole, newest = set[str](), dict[str, datetime]()
        names: list[str] = []
        for found in self._listed(""):
            bundle_id, _, rest = found["path"].partition("/")
            if rest and BUNDLE_ID.fullmatch(bundle_id):
                names.append(found["path"])
                newest[bundle_id] = max(newest.get(bundle_id, found["last_modified"]), found["last_modified"])
                if rest == MANIFEST:
                    whole.add(bundle_id)
        old = {one for one, last in newest.items() if datetime.now(UTC) - last > LEFT_FOR_GOOD} - whole
        doomed = [name for name in names if name.partition("/")[0] in old]
        if doomed:
            with self._asking():
                obstore.delete(self._store, doomed)

    @contextmanager
    def using(self, bundle_id: str) -> Iterator[None]:
        """See Shelf."""
        self._used[bundle_id] += 1
        try:
            yield
        finally:
            self._used[bundle_id] -= 1

    def forget_copies(self, kept: set[str]) -> None:
        """See Shelf. Whoever has a copy open keeps its memory maps."""
        with self._fetching:
            kept = kept | set(+self._used)
            remove_leftovers(self.folder)
            copies = [path for path in self.folder.glob("*") if BUNDLE_ID.fullmatch(path.name)]
            for copy in copies:
                if copy.name not in kept:
                    doomed = copy.rename(self.folder / f"{TEMPORARY_PREFIX}removed-{copy.name}")
                    rmtree(doomed)

    def read(self, name: str) -> Sheet | None:
        """See Shelf; the version is the store's own."""
        return self._unless_missing(lambda: _sheet(obstore.get(self._store, name)))

    def replace(self, name: str, data: bytes, before: Sheet | None) -> None:
        """See Shelf. An answer that gets lost is an AwayError, though the file may have been replaced."""
        with self._asking():
            try:
                obstore.put(self._once, name, data, mode="create" if before is None else before.version)
            except (AlreadyExistsError, PreconditionError) as error:
                raise ChangedError(name) from error

    def remove(self, name: str) -> None:
        """See Shelf."""
        self._unless_missing(lambda: obstore.delete(self._store, name))

    def changing(self) -> AbstractContextManager[None]:
        """See Shelf: nobody is kept out, `replace` finds out."""
        return nullcontext()

    def _manifest_bytes(self, bundle_id: str) -> bytes:
        sheet = self.read(f"{bundle_id}/{MANIFEST}")
        if sheet is None:
            raise BundleError(f"{self.location(bundle_id)} has no {MANIFEST}; expected a whole bundle")
        return sheet.data

    def _objects(self, prefix: str) -> dict[str, int]:
        """Names and sizes."""
        return {found["path"]: found["size"] for found in self._listed(prefix)}

    def _listed(self, prefix: str) -> Iterator[Any]:
        with self._asking():
            for some in obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=LISTED_AT_ONCE):
                yield from some

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, BaseError) as error:
            raise AwayError(f"{self.url}: {_words(error)}") from error

    def _unless_missing(self, ask: Callable[[], T]) -> T | None:
        """Ask for what need not be there. A bucket that is not there must not look like an empty one."""
        with self._asking():
            try:
                return ask()
            except FileNotFoundError as error:
                if NO_BUCKET.search(str(error)):
                    raise
                return None


def _opened(url: str, client: "ClientConfig", retries: "RetryConfig") -> Store:
    try:
        store = from_url(url, client_options=client, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise AwayError(f"{url}: {_words(error)}") from error
    assert isinstance(store, Store)
    return store


def _sheet(found: "GetResult") -> Sheet:
    version = {key: found.meta[key] for key in ("e_tag", "version") if found.meta[key] is not None}
    return Sheet(bytes(found.bytes()), version)


def _words(error: Exception) -> str:
    """What happened, without what the store's library found on its way there."""
    return "there is no such bucket" if NO_BUCKET.search(str(error)) else str(error).strip().split("\n")[0][:300]


def _each(do: Callable[[str], None], names: Any) -> None:
    """Several at once; the first error is raised when all that had begun have ended."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bucket") as pool:
        tasks = [pool.submit(do, name) for name in sorted(names)]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def folder_for(url: str, below: Path) -> Path:
    """Where the copies of one bucket lie in a folder for those of several."""
    return below / quote(url.rstrip("/"), safe="")
