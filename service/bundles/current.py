"""The bundle that answers requests now."""

from collections.abc import Callable

from service.bundles.loaded import LoadedBundle


class CurrentBundle:
    """Holds the loaded bundle that serves, until another replaces it.

    A request reads `loaded` once and keeps that object to its end: a replacement never changes the bundle under it.
    No other long-lived object may hold the loaded bundle, so that it closes after its last request.
    """

    def __init__(self, loaded: LoadedBundle, on_replace: Callable[[], None]) -> None:
        """`on_replace` runs after each replacement: responses of the bundle before are no longer valid."""
        self.loaded = loaded
        self._on_replace = on_replace

    @property
    def bundle_id(self) -> str:
        """The id of the bundle that serves."""
        return self.loaded.bundle.bundle_id

    def replace(self, loaded: LoadedBundle) -> None:
        """Serve this bundle from the next request on."""
        self.loaded = loaded
        self._on_replace()
