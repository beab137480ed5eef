"""Holds the bundle that serves."""

from collections.abc import Callable

from service.bundles.loaded import LoadedBundle


class CurrentBundle:
    """The loaded bundle that serves, until another replaces it.

    A request reads `loaded` once and uses that object to its end, so a swap never changes the bundle of a request. No
    other long-lived object may refer to the loaded bundle, so that it closes after its last request.
    """

    def __init__(
        self,
        loaded: LoadedBundle,
        on_replace: Callable[[], None],
        complete: Callable[[LoadedBundle], LoadedBundle] = lambda loaded: loaded,
    ) -> None:
        """`on_replace` runs after each replacement, as responses of the bundle before are no longer valid.

        `complete` adds to a bundle what changed since it was loaded, at the moment when it begins to serve.
        """
        self.loaded = complete(loaded)
        self._complete = complete
        self._on_replace = on_replace

    @property
    def bundle_id(self) -> str:
        """The id of the bundle that serves."""
        return self.loaded.bundle.bundle_id

    def refresh(self, loaded: LoadedBundle) -> None:
        """Answer from another state of the bundle's living items, beginning with the next request; this is no swap.

        The caller must clear the response cache afterwards.
        """
        self.loaded = loaded

    def replace(self, loaded: LoadedBundle) -> None:
        """Answer from this bundle, beginning with the next request."""
        self.loaded = self._complete(loaded)
        self._on_replace()
