import random
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from loadtests.random_bundle import RandomBundleSizes
from loadtests.shop_traffic import RECOMMEND, SHARES, VISIT_LENGTH, VISITOR_CYCLE, requests, visit, visitors

USERS = [f"user-{number}" for number in range(100)]


def test_over_many_visits_requests_have_their_shares_and_every_visit_opens_with_recommendations():
    rng = random.Random(0)
    visits = [list(visit(rng)) for _ in range(20_000)]
    assert {one[0] for one in visits} == {RECOMMEND}
    counts = Counter(kind for one in visits for kind in one)
    n = counts.total()
    assert n / len(visits) == pytest.approx(VISIT_LENGTH, rel=0.03)
    assert {kind: count / n for kind, count in counts.items()} == pytest.approx(SHARES, abs=0.01)


def test_some_users_are_far_more_frequent_and_which_ones_depends_only_on_the_seed():
    here, there = (
        Counter(islice(visitors(USERS, seed=3, start=start), VISITOR_CYCLE)) for start in (0, VISITOR_CYCLE - 7)
    )
    assert here == there
    (most, often), *_, (_, rarely) = here.most_common()
    assert often > 50 * rarely  # by Zipf's law 100 times as often
    assert Counter(islice(visitors(USERS, seed=4, start=0), VISITOR_CYCLE)).most_common(1)[0][0] != most


def test_workers_do_not_send_the_same_visitors_at_the_same_time():
    here, there = (list(islice(visitors(USERS, seed=3, start=start), 50)) for start in (0, 1_000))
    assert here != there


def test_independent_requests_have_the_same_shares():
    made = requests(RandomBundleSizes(n_items=50, n_users=40), "reco_key", 20_000, np.random.default_rng(0))
    kinds = Counter(request.split(b" ")[1].split(b"/")[1].decode() for request in made)
    assert {"recommend": kinds["recommend"], "similar": kinds["similar"], "event": kinds["events"]} == pytest.approx(
        {kind: share * 20_000 for kind, share in SHARES.items()}, rel=0.05
    )
    assert all(b"Authorization: Bearer reco_key\r\n" in request for request in made)
