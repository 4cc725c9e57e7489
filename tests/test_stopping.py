"""Patience: when a number per epoch means that it is time to stop."""

import numpy as np
import pytest

from skl_softmax._stopping import Patience

MANY = 1000  # updates an epoch: enough for the rule on updates to be met at once


def epochs_until_stop(patience, values, n_updates=MANY):
    """Return the number of the epoch (from 1) at which patience runs out, or None."""
    for epoch, value in enumerate(values, start=1):
        if patience.runs_out(value, n_updates):
            return epoch
    return None


@pytest.mark.parametrize("n_iter_no_change", [1, 2, 5])
def test_stops_after_n_epochs_without_progress(n_iter_no_change):
    """The first value is progress; then n_iter_no_change epochs without any are enough."""
    assert epochs_until_stop(Patience(0.1, n_iter_no_change), [1.0] * 20) == 1 + n_iter_no_change


def test_progress_starts_the_wait_anew():
    """Epochs without progress count only in a row."""
    values = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]

    assert epochs_until_stop(Patience(0.1, 3), values) == 7


def test_slow_steady_progress_counts():
    """Falls smaller than tol add up to progress, so a steady slow descent goes on."""
    values = 10 - 0.04 * np.arange(100)

    assert epochs_until_stop(Patience(0.1, 5), values) is None


def test_slower_than_tol_in_the_whole_wait_stops():
    """A descent of less than tol within the wait is not progress."""
    values = 10 - 0.01 * np.arange(100)

    assert epochs_until_stop(Patience(0.1, 5), values) == 6


def test_rise_is_no_progress():
    """A value that rises and comes back has made no progress."""
    values = [1.0, 2.0, 1.5, 1.0]

    assert epochs_until_stop(Patience(0.1, 3), values) == 4


def test_fall_of_exactly_tol_is_no_progress():
    """As in SGDClassifier, the fall has to be more than tol."""
    assert epochs_until_stop(Patience(0.5, 1), [1.0, 0.5]) == 2


def test_tol_zero_counts_any_fall():
    """With tol = 0 the smallest fall is progress, and standing still is not."""
    values = [1.0, 1 - 1e-12, 1 - 1e-12]

    assert epochs_until_stop(Patience(0.0, 1), values) == 3


def test_tol_none_never_stops():
    """With tol = None nothing ends the fit but max_iter."""
    assert epochs_until_stop(Patience(None, 1), [1.0] * 100) is None


@pytest.mark.parametrize(("n_updates", "expected"), [(1, 101), (30, 5), (33, 5), (50, 4), (100, 4)])
def test_waits_for_a_hundred_updates(n_updates, expected):
    """Three epochs are not enough before 100 updates were made since the last progress."""
    assert epochs_until_stop(Patience(0.1, 3), [1.0] * 200, n_updates) == expected


def test_renew_starts_the_wait_anew():
    """After `renew` the full wait begins again, and the last progress stays the yardstick."""
    patience = Patience(0.1, 3)
    assert epochs_until_stop(patience, [1.0, 1.0, 1.0]) is None

    patience.renew()

    assert epochs_until_stop(patience, [1.0, 1.0, 1.0]) == 3
