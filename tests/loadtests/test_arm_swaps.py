"""An arm's bundle is swapped under load: no answer fails, and each is of the bundle that it names."""

import pytest
from servers import serving

from index.bundle import Bundle
from loadtests.arm_swaps import Serving, swap_under_load, write_bundles
from loadtests.random_bundle import RandomBundleSizes


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    return write_bundles(tmp_path_factory.mktemp("swaps") / "registry", RandomBundleSizes(60, 50, 4, 8), 3)


def test_swaps_of_an_arm_fail_no_request_and_mix_no_answer(bundles: list[Bundle]) -> None:
    folder = bundles[0].path.parent
    with serving(registry=folder, data=folder.parent, gpu="off") as client:
        outcome = swap_under_load(str(client.base_url), bundles, swaps=6, callers=2, n_users=50)
    assert (outcome.failed, outcome.mixed, outcome.problems) == (0, 0, [])
    assert outcome.of_the_arm > 10
    assert len(outcome.bundles) == 3


def test_an_answer_may_be_of_the_bundles_that_the_arm_had_while_it_was_made() -> None:
    served = Serving([(0.0, "one"), (10.0, "two"), (20.0, "three")], confirmed=[1.0, 11.0])
    assert served.between(5.0, 6.0) == {"one"}
    assert served.between(8.0, 12.0) == served.between(10.5, 10.6) == {"one", "two"}
    assert served.between(12.0, 13.0) == {"two"}
    assert served.between(25.0, 26.0) == {"two", "three"}  # the last swap is not confirmed yet
