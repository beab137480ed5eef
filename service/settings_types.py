"""Types shared by settings and API keys, and the check of a Redis URL's scheme."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

PerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Burst = Annotated[int, Field(ge=1)]

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def redis_kind(url: str) -> str:
    """`sentinel`, `cluster`, or an empty string for one server; ValueError names the supported schemes."""
    scheme = urlsplit(url).scheme
    if scheme not in REDIS_SCHEMES:
        raise ValueError(f"expected a URL with one of the schemes {', '.join(REDIS_SCHEMES)}")
    return scheme.partition("+")[2]
