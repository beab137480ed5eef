import resource
from typing import Any

import pytest

from index.errors import InputError
from service.http.load import SPARE_CONNECTIONS
from service.http.open_files import DEFAULT_CONNECTIONS, OWN_FILES, allow_connections

RESERVED = OWN_FILES + SPARE_CONNECTIONS


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and the hard limit of open files, as the process sees and sets them."""
    limits = [1_024, 4_096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.__setitem__(slice(None), both))
    return limits


def test_the_soft_limit_is_raised_as_far_as_the_connections_need(limits: list[int]) -> None:
    assert allow_connections(2_000, 1) == 2_000
    assert limits == [2_000 + RESERVED, 4_096]
    assert allow_connections(100, 2) == 100
    assert limits == [2_000 + RESERVED, 4_096]


def test_without_a_setting_there_are_as_many_as_the_hard_limit_leaves(limits: list[int]) -> None:
    assert allow_connections(None, 1) == 4_096 - RESERVED
    assert allow_connections(None, 2) == (4_096 - RESERVED) // 2
    limits[:] = [1_024, resource.RLIM_INFINITY]
    assert allow_connections(None, 1) == DEFAULT_CONNECTIONS
    limits[:] = [resource.RLIM_INFINITY] * 2
    assert allow_connections(None, 1) == DEFAULT_CONNECTIONS


@pytest.mark.parametrize(("wanted", "hard", "said"), [(4_000, 4_096, "4000 are wanted"), (None, 100, "1 are wanted")])
def test_more_than_the_process_may_open_is_refused_with_the_way_out(
    limits: list[int], wanted: Any, hard: int, said: str
) -> None:
    limits[:] = [min(hard, 1_024), hard]
    with pytest.raises(InputError, match=f"RECO_MAX_CONNECTIONS: .* {said}: raise `ulimit -n`"):
        allow_connections(wanted, 1)
