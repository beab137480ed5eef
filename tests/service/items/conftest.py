from collections.abc import Iterator

import pytest
from servers import Valkey


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    config = {"appendonly": "yes", "appendfsync": "always"}
    server = Valkey(tmp_path_factory.mktemp("valkey"), config=config).start()
    yield server
    server.kill()
