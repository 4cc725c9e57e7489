"""Rows dealt into folds by their content, and the loss of those that a fit has not seen."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from skl_softmax._distinct_rows import distinct
from skl_softmax._held_out import HeldOut, Part, folds
from skl_softmax._parameters import Parameters
from skl_softmax._rows import Rows


def distinct_rows(X, y, weight=None):
    """The rows as `folds` takes them."""
    weight = np.ones(len(y)) if weight is None else weight
    return distinct(Rows(X, y, weight, np.arange(len(y))))


def parts_of(X, y, weight=None, n_folds=5, n_used=5, usual=None):
    """All parts, and the rows that there are."""
    data, contents = distinct_rows(X, y, weight)
    usual = np.ones(len(data.rows), bool) if usual is None else usual[data.rows]
    return folds(data, contents, usual, n_folds, n_used), data


def rows_in(part_rows):
    """Contents and labels."""
    rows = part_rows.rows
    return {(*x, k) for x, k in zip(part_rows.X[rows].tolist(), part_rows.y[rows], strict=True)}


@pytest.fixture
def problem():
    """Some contents have two labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(4, size=(300, 3)).astype(float)
    return X, rng.choice(3, size=300, p=[0.6, 0.3, 0.1])


def test_every_row_is_held_out_once(problem):
    """And fitted in all other folds."""
    parts, data = parts_of(*problem)

    held_out = [rows_in(part.held_out) for part in parts]
    assert len(parts) == 5
    assert set.union(*held_out) == rows_in(data)
    assert sum(map(len, held_out)) == len(data.rows)
    for part, held in zip(parts, held_out, strict=True):
        assert rows_in(part.fitted) == rows_in(data) - held


def test_equal_contents_share_a_fold(problem):
    """Whatever their labels."""
    for part in parts_of(*problem)[0]:
        contents = {row[:-1] for row in rows_in(part.fitted)}
        assert not contents & {row[:-1] for row in rows_in(part.held_out)}


def test_folds_have_their_share_of_each_class():
    """Contents are dealt out class by class."""
    rng = np.random.default_rng(0)
    y = rng.choice(4, size=1000, p=[0.7, 0.2, 0.06, 0.04])

    parts, _ = parts_of(rng.standard_normal((1000, 3)), y)

    counts = np.array([np.bincount(p.held_out.y[p.held_out.rows], minlength=4) for p in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_weights_have_mean_one_where_they_are_fitted(problem):
    """As learners want them; those of what is held out stay as they are."""
    weight = np.random.default_rng(1).exponential(size=300)

    for part in parts_of(*problem, weight)[0]:
        assert part.fitted.weight[part.fitted.rows].mean() == pytest.approx(1)


def test_class_of_one_content_is_never_held_out(problem):
    """Nor all contents of a class at once."""
    X, y = problem
    X, y = np.vstack([X, [[9, 9, 9.0]], [[8, 8, 8.0]]]), np.append(y, [3, 4])

    for part in parts_of(X, y)[0]:
        assert set(part.fitted.y[part.fitted.rows]) == {0, 1, 2, 3, 4}
        assert not {3, 4} & set(part.held_out.y[part.held_out.rows])


def test_unusual_rows_are_fitted_or_left_alone(problem):
    """They are never held out, but do not come back to what is fitted."""
    X, y = problem
    usual = ~(X == 0).any(axis=1)

    for part in parts_of(X, y, usual=usual)[0]:
        assert (part.held_out.X[part.held_out.rows] > 0).all()
        assert not rows_in(part.fitted) & rows_in(part.held_out)


@pytest.mark.parametrize("n_used", [1, 3])
def test_some_folds(problem, n_used):
    """The first ones."""
    some, _ = parts_of(*problem, n_used=n_used)
    every, _ = parts_of(*problem)

    assert [rows_in(a.held_out) for a in some] == [rows_in(b.held_out) for b in every[:n_used]]


class Scripted:
    """A learner whose scores in each epoch are given: rows have these times the first column."""

    def __init__(self, slopes, gaps):
        self._slopes, self._gaps = iter(slopes), iter(gaps)
        self.epochs, self.gap = 0, None

    def epoch(self):
        """The next slope and gap."""
        self.epochs += 1
        self._slope, self.gap = next(self._slopes), next(self._gaps)

    def now(self):
        """Scores of two classes."""
        return Parameters(np.array([[0.0, self._slope]]), np.zeros(2))


def loss_at(slope, x, y, weight):
    """Mean loss of rows of one column."""
    logs = log_softmax(np.column_stack([np.zeros(len(x)), slope * x]), axis=1)
    return np.average(-logs[np.arange(len(y)), y], weights=weight)


@pytest.fixture
def scripted():
    """A criterion of one part, and what it is made of: n, x, y, weight, the learners made."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal(800), rng.exponential(size=800)
    y = (x + rng.logistic(size=800) > 0).astype(int)
    fitted = Rows(x[:80, None], y[:80], np.ones(80), np.arange(80))
    held_out = Rows(x[:, None], y, weight, np.arange(80, 800))
    made = []

    def prepare(data):
        def make(alpha):
            made.append((alpha, data, scripts.pop(0)))
            return made[-1][2]

        return make

    scripts = []
    criterion = HeldOut([Part(fitted, held_out)], 160.0, prepare)
    return criterion, scripts, made, (x[80:], y[80:], weight[80:])


def test_loss_is_that_of_the_epoch_that_is_near(scripted):
    """The alpha is for all rows, and stronger for a part of them."""
    criterion, scripts, made, rows = scripted
    scripts.append(Scripted([0.1, 0.5, 9.0], [1.0, 0.02, 0.01]))

    loss, given_up = criterion.loss(1e-3)

    assert loss == pytest.approx(loss_at(0.5, *rows))
    assert not given_up
    alpha, data, learner = made[0]
    assert alpha == pytest.approx(2e-3)
    assert len(data.rows) == 80
    assert learner.epochs == 2
    s = rows[2]
    assert criterion.n == pytest.approx(s.sum() ** 2 / (s @ s))


def test_fit_is_given_up_as_the_loss_rises(scripted):
    """Where it is above the least of other alphas, and that of the epoch before."""
    criterion, scripts, made, rows = scripted
    scripts += [Scripted([1.0], [0.0]), Scripted([0.0, 5.0, 9.0, 20.0], [1.0] * 4)]
    criterion.loss(1e-3)

    loss, given_up = criterion.loss(1e-4)

    assert given_up
    assert loss == pytest.approx(loss_at(5.0, *rows))
    assert made[1][2].epochs == 2


def test_fit_goes_on_while_the_loss_falls(scripted):
    """Above the least or not."""
    criterion, scripts, _, rows = scripted
    slopes = [-5.0, -3.0, -1.0, 0.3]
    scripts += [Scripted([1.0], [0.0]), Scripted(slopes, [1.0, 1.0, 1.0, 0.0])]
    criterion.loss(1e-3)

    loss, given_up = criterion.loss(1e-4)

    assert not given_up
    assert loss == pytest.approx(loss_at(0.3, *rows))


def test_few_rows_do_not_give_up_a_fit(scripted):
    """Their loss goes up and down by chance."""
    criterion, scripts, made, rows = scripted
    part = criterion._parts[0]
    few = replace(part.held_out, rows=part.held_out.rows[:250])
    criterion = HeldOut([Part(part.fitted, few)], 160.0, lambda _: criterion._learners[0])
    scripts += [Scripted([1.0], [0.0]), Scripted([0.0, 5.0, 9.0], [1.0, 1.0, 0.0])]
    criterion.loss(1e-3)

    loss, given_up = criterion.loss(1e-4)

    assert not given_up
    assert loss == pytest.approx(loss_at(9.0, *(of_all[:250] for of_all in rows)))
    assert made[1][2].epochs == 3
