"""Types shared by settings and API keys."""

from typing import Annotated

from pydantic import Field

PerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Burst = Annotated[int, Field(ge=1)]
