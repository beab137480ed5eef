import os
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test can cut the power; that everything is synced in order is a test of index/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        sqlalchemy.event.listen(Engine, "connect", _do_not_sync)
        yield
        sqlalchemy.event.remove(Engine, "connect", _do_not_sync)


def _do_not_sync(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session", autouse=True)
def trainings_without_pictures(no_pictures: None) -> None:
    """In every test of this folder."""
