import pytest
from scraped import Series, scraped


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Every series of a service that was used."""
    return scraped(tmp_path_factory.mktemp("bundles"))
