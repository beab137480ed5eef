"""Checks whether users fall into the arms in the shares that the weights ask for; may be looked at every day."""

import math
from collections.abc import Mapping
from typing import NamedTuple

WARN_BELOW = 0.001  # the p-value
# Of the prior: deviations of 3 percentage points around weights of 50 % are found soonest, others a little later.
CONCENTRATION = 300.0


class SampleRatio(NamedTuple):
    """The p-value, valid at whichever look, and a warning for people where it is below 0.001."""

    p_value: float
    warning: str | None = None


def sample_ratio(users: Mapping[str, int], weights: Mapping[str, float]) -> SampleRatio:
    """Test the number of users of each arm against the arms' weights, given in percent or any other unit.

    Sequential multinomial test of Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data" (NeurIPS 2022,
    arXiv:2011.03567): the Bayes factor of a Dirichlet prior, centred at the weights, against the weights themselves.
    Under the weights it is a martingale that starts at 1, so it ever exceeds 1/a with a probability of at most a.
    """
    total_weight, n = sum(weights.values()), sum(users.values())
    expected = {arm: weights.get(arm, 0.0) / total_weight for arm in {**weights, **users}}
    log_bayes_factor = math.lgamma(CONCENTRATION) - math.lgamma(CONCENTRATION + n)
    for arm, share in expected.items():
        found, prior = users.get(arm, 0), CONCENTRATION * share
        if found and not share:
            log_bayes_factor = math.inf  # a user where there can be none
        elif found:
            log_bayes_factor += math.lgamma(prior + found) - math.lgamma(prior) - found * math.log(share)
    p_value = math.exp(-max(log_bayes_factor, 0.0))
    return SampleRatio(p_value, _warning(users, expected, p_value) if p_value < WARN_BELOW else None)


def _warning(users: Mapping[str, int], expected: Mapping[str, float], p_value: float) -> str:
    n = sum(users.values())
    shares = ", ".join(f"{arm} {users.get(arm, 0) / n:.2%} (expected {share:.2%})" for arm, share in expected.items())
    return (
        f"the arms do not have the shares that their weights ask for: {shares} of {n:,} users, p = {p_value:.1g}; "
        "users are lost or counted twice in some arm, so do not trust the comparison before the cause is found"
    )
