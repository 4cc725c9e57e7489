"""Schedules: the formula of each, and that none overshoots where it promises not to."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._textbook._schedules import SCHEDULES, Steps, needs_smoothness

T = np.array([1.0, 2.0, 10.0, 1e6])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.2, 0.2, 0.2, 0.2]),
        ("adaptive", [0.2, 0.2, 0.2, 0.2]),
        ("invscaling", [0.2, 0.2 / 2**0.25, 0.2 / 10**0.25, 0.2 / 1e6**0.25]),
        ("auto", [0.125, 0.125, 0.125, 0.125]),
    ],
)
def test_formula(name, expected):
    """Each schedule has the value of its formula at early and late updates."""
    steps = Steps(eta0=0.2, power_t=0.25, alpha=1e-3, smoothness=8.0)

    assert_allclose(SCHEDULES[name](T, steps), expected)


def test_schedules_are_those_of_the_interface():
    """Every `learning_rate` that the user may name has a schedule, and there is no other."""
    assert set(SCHEDULES) == {"auto", "constant", "optimal", "invscaling", "adaptive"}


@pytest.mark.parametrize("alpha", [1e-8, 1e-5, 1e-4, 1e-2, 0.5, 1.0])
def test_optimal_is_that_of_sgd_classifier(alpha):
    """'optimal' is SGDClassifier's 1 / (alpha (t0 + t - 1)), its t0 found by its own heuristic."""
    typical_weight = np.sqrt(1 / np.sqrt(alpha))
    # SGDClassifier divides by max(1, slope of the loss), which is 1 for the log loss.
    eta_at_first = typical_weight
    t0 = 1 / (eta_at_first * alpha)

    found = SCHEDULES["optimal"](T, Steps(eta0=0.01, power_t=0.5, alpha=alpha))

    assert_allclose(found, 1 / (alpha * (t0 + T - 1)))


@pytest.mark.parametrize("alpha", [1e-8, 1e-3, 0.999, 1.0, 1.001, 10.0, 1e6])
def test_optimal_never_overshoots_the_penalty(alpha):
    """However large alpha is, eta * alpha is at most 1: the decay never changes a weight's sign."""
    eta = SCHEDULES["optimal"](T, Steps(eta0=0.01, power_t=0.5, alpha=alpha))

    assert np.all(eta * alpha <= 1 + 1e-15)
    assert np.all(np.diff(eta) < 0)


def test_optimal_without_alpha_is_auto():
    """With alpha = 0 'optimal' has no finite value and becomes 'auto'."""
    steps = Steps(eta0=0.01, power_t=0.5, alpha=0.0, smoothness=4.0)

    assert_array_equal(SCHEDULES["optimal"](T, steps), SCHEDULES["auto"](T, steps))


def test_auto_stands_still_where_nothing_is_curved():
    """Rows that are all zero give the step 0, not a division by zero."""
    assert_array_equal(SCHEDULES["auto"](T, Steps(0.01, 0.5, 0.0, smoothness=0.0)), 0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_makes_a_new_float64_array(name):
    """Every schedule gives a fresh float64 array, which the caller may change."""
    t = T.copy()

    eta = SCHEDULES[name](t, Steps(eta0=1, power_t=0.5, alpha=1e-3, smoothness=8.0))

    assert eta.dtype == np.float64
    assert not np.shares_memory(eta, t)


@pytest.mark.parametrize("alpha", [0.0, 1e-5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_who_reads_the_smoothness(name, alpha):
    """`needs_smoothness` is true exactly where the smoothness changes the step."""
    short, long = (
        SCHEDULES[name](T, Steps(0.01, 0.5, alpha, smoothness)) for smoothness in (8.0, 2.0)
    )

    assert needs_smoothness(name, alpha) == (not np.array_equal(short, long))
