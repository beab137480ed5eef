from collections.abc import Iterator

import pytest
from duos import Duo, two_workers


@pytest.fixture(scope="module")
def duo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duo]:
    with two_workers(tmp_path_factory.mktemp("duo"), live_poll_s=60, bundle_poll_s=60) as duo:
        yield duo
