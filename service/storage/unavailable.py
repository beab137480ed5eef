"""The errors of durable stores: one that cannot be used now, and one where too much waits to be written."""

from service.errors import ServiceError


class StoreUnavailable(ServiceError):  # noqa: N818 - named by the condition
    """A store cannot be written or read now (disk full, Redis unavailable); nothing was acknowledged."""

    status = 503

    def __init__(self, detail: str, *, retry_after_s: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class Overloaded(ServiceError):  # noqa: N818
    """Too much waits to be written; the caller should retry after a delay."""

    status = 429
    code = "overloaded"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})
