"""The promises of `fit` on awkward data: the optimum, or a warning; never worse than seen."""

from dataclasses import replace

import awkward
import numpy as np
import pytest
from helpers import logistic_regression

IN_SUITE, IN_SWEEP = 300, 5000
# All of the sweep, without a penalty, and with an estimate that is too small (2688 and 4928 in some
# versions only); none of them ends in silence.
BROKEN = {1374, 2688, 4598, 4928}
ALL = pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(IN_SUITE), id="suite"),
        pytest.param(range(IN_SUITE, IN_SUITE + IN_SWEEP), id="sweep", marks=pytest.mark.sweep),
    ],
)


# --- the fits ---


@ALL
def test_awkward_data_are_fitted_as_promised(seeds):
    """No fit ends in silence above `tol`, names a gap that is too small, or is worse than seen."""
    broken = {seed for seed in seeds if awkward.outcome(seed).faults}

    assert broken <= BROKEN, "\n" + "\n".join(map(awkward.line, sorted(broken - BROKEN)))


@pytest.mark.parametrize("seed", [860, 2327, 2788, 4891])
def test_problems_of_the_sweep_that_were_broken(seed):
    """Bounds that were too high, and estimates from metrics of other points.

    2327: targets that were balanced to 4e-12 of the weights, beside an intercept of 88. 2788: those
    of long rows had moved, and no others made up for it.
    """
    assert not awkward.outcome(seed).faults, awkward.line(seed)


@ALL
def test_few_fits_warn(seeds):
    """At most one fit in fifty ends with the warning that it is not at the optimum."""
    warned = [seed for seed in seeds if awkward.outcome(seed).warned]

    assert len(warned) <= len(seeds) / 50, "\n" + "\n".join(map(awkward.line, warned))


@pytest.mark.xfail(reason="one bound in a hundred and fifty is looser", strict=True)
@ALL
def test_bounds_are_close(seeds):
    """A `gap_` that is a bound is at most five times the true gap, or a tenth of `tol`."""
    loose = [seed for seed in seeds if awkward.outcome(seed).loose]

    assert not loose, "\n" + "\n".join(map(awkward.line, loose))


@ALL
def test_few_bounds_are_loose(seeds):
    """One in a hundred or so, where the estimate that decides on another epoch is too large."""
    loose = [seed for seed in seeds if awkward.outcome(seed).loose]

    assert len(loose) <= len(seeds) / 100 + 3, "\n" + "\n".join(map(awkward.line, loose))


@ALL
def test_few_problems_are_redrawn(seeds):
    """Fewer than one problem in twenty is too hard for its reference."""
    redrawn = sum(awkward.solved(seed)[2] for seed in seeds)

    assert redrawn < len(seeds) / 20


# --- the references ---


def benign(n_classes, penalty, alpha, weights):
    """Independent columns of unit size."""
    rng = np.random.default_rng(n_classes)
    X = rng.standard_normal((200, 5))
    scores = X[:, :2] @ rng.standard_normal((2, n_classes)) + rng.gumbel(size=(200, n_classes))
    sample_weight = rng.exponential(size=200) if weights else None
    return awkward.Problem(
        X, scores.argmax(axis=1), sample_weight,
        penalty, alpha, 0.3, True, 1e-3, None, "independent columns",
    )  # fmt: skip


@pytest.mark.parametrize("weights", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(("penalty", "l1_ratio"), [("l2", 0), ("l1", 1), ("elasticnet", 0.3)])
def test_reference_is_the_optimum_of_scikit_learn(penalty, l1_ratio, n_classes, weights):
    """On benign data the reference is what LogisticRegression reaches with a tiny `tol`."""
    problem = benign(n_classes, penalty, 0.02, weights)
    total = 200 if not weights else problem.sample_weight.sum()
    solver = {"solver": "saga", "random_state": 0} if l1_ratio else {"solver": "newton-cg"}
    theirs = logistic_regression(
        1 / (0.02 * total), l1_ratio, tol=1e-10, max_iter=10000, **solver
    ).fit(problem.X, problem.y, problem.sample_weight)
    data = awkward.Centred.of(problem)

    found = awkward.reference(problem)

    expected = data.objective(*data.weights_of(theirs.coef_, theirs.intercept_))
    # The reference is proven to 1e-3 tol or better, which is 1e-6.
    assert found.objective == pytest.approx(expected, rel=2e-6)
    assert found.objective - found.error <= expected * (1 + 1e-12)


def test_reference_without_a_penalty_is_the_optimum():
    """Without a penalty too, where there is one."""
    problem = benign(3, None, 0.0, False)
    theirs = logistic_regression(np.inf, solver="newton-cg", tol=1e-10).fit(problem.X, problem.y)
    data = awkward.Centred.of(problem)

    found = awkward.reference(problem)

    expected = data.objective(*data.weights_of(theirs.coef_, theirs.intercept_))
    assert found.objective == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("n_steps", [1, 3, 6, 10])
def test_error_of_a_reference_is_a_bound(n_steps):
    """However early its steps end, the optimum is not further below than the error says."""
    for seed in range(25):
        problem, found, _ = awkward.solved(seed)
        early = awkward.reference(problem, n_steps)

        rounding = 1e-12 * max(found.objective, 1)
        assert early.objective - early.error <= found.objective + rounding, problem.text
        assert early.objective >= found.objective - found.error - rounding, problem.text


@pytest.mark.parametrize("penalty", ["l2", "l1", None])
def test_shifted_columns_have_the_same_reference(penalty):
    """With an intercept the optimum does not depend on where the columns' zeros are."""
    problem = replace(benign(3, penalty, 1e-3, False), tol=1e-4)

    shifted = replace(problem, X=problem.X + 2.0**10)

    # Proven to 1e-3 tol each; the shift rounds X by 1e-13.
    assert awkward.reference(shifted).objective == pytest.approx(
        awkward.reference(problem).objective, rel=2e-7
    )


def test_losses_are_exact_where_they_are_tiny():
    """A loss far below the rounding of the scores keeps its digits, and a huge one is finite."""
    Z = np.array([[0.0, -50.0], [0.0, 3.0], [0.0, 1000.0]])

    losses = awkward._losses(Z, np.zeros(3, dtype=int))

    expected = [np.exp(-50.0), np.log1p(np.exp(3.0)), 1000.0]
    np.testing.assert_allclose(losses, expected, rtol=1e-14)


# --- the checks can fail ---


@pytest.fixture
def met():
    """A problem, its reference and a model at the optimum."""
    problem = benign(3, "l2", 1e-3, False)
    model, warned = awkward.fitted(problem, tol=1e-8)
    assert not warned
    return problem, awkward.reference(problem), model


def faults(problem, found, model, warned=False):
    """What `judge` says."""
    return awkward.judge(problem, found, model, warned)[0]


def test_a_model_at_the_optimum_has_no_fault(met):
    """Nothing is said of a fit that is right."""
    assert faults(*met) == ()


def test_an_unconverged_fit_is_seen(met):
    """One epoch is not enough: the fit is not at the optimum, and nobody said so."""
    problem, found, _ = met
    model, _ = awkward.fitted(replace(problem, coef_init=np.ones((3, 5))), max_iter=1, tol=None)

    assert "silent" in faults(problem, found, model)
    assert "silent" not in faults(problem, found, model, warned=True)


def test_an_optimum_below_the_models_is_seen(met):
    """Were the optimum lower than the model by more than `tol`, it would be said."""
    problem, found, model = met
    lower = replace(found, objective=found.objective * 0.99)

    assert faults(problem, lower, model) == ("silent", "gap_ too small")


def test_a_gap_that_is_no_bound_is_seen(met):
    """Weights off the optimum, and a gap of nothing."""
    problem, found, model = met
    model.coef_ *= 1.02
    model.gap_ = 0.0

    assert faults(problem, found, model) == ("gap_ too small",)


def test_a_loose_gap_is_seen(met):
    """Below `tol`, but far above the true gap."""
    problem, found, model = met
    model.gap_ = 0.9 * problem.tol

    assert awkward.judge(problem, found, model, False)[2]


def test_a_warning_of_a_small_gap_is_seen(met):
    """A fit that warns names a gap above `tol`."""
    problem, found, model = met
    model.gap_ = 0.5 * problem.tol

    assert faults(problem, found, model, warned=True) == ("warns of a gap_ below tol",)


@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_what_is_no_number_is_seen(name, met):
    """A NaN among the parameters."""
    problem, found, model = met
    getattr(model, name)[0] = np.nan

    assert faults(problem, found, model) == ("not finite",)


def test_a_model_worse_than_its_start_is_seen(met):
    """The weights that the fit was given were better, and so were none at all."""
    problem, found, model = met
    started = replace(problem, coef_init=model.coef_ * 0.5)
    model.coef_ = 100 * model.coef_

    found_faults = faults(started, found, model, warned=True)

    assert {"above the start", "above the intercepts alone"} <= set(found_faults)


def test_the_table_names_what_fails(monkeypatch, capsys, met):
    """The script prints a line a failing problem and how many of each kind there are."""
    text = "means+wide; 20x3000 K=2"
    good = awkward.Outcome((), text, 1.0, 1.0, 1e-4, 5, 0.1, False, False)
    outcomes = [good, replace(good, faults=("silent",))]
    monkeypatch.setattr(awkward, "outcome", outcomes.__getitem__)
    monkeypatch.setattr(awkward, "solved", lambda seed: (met[0], met[1], 0))

    awkward.main(0, 2)

    printed = capsys.readouterr().out
    assert "1 of 2 fail" in printed
    assert "means 1/2, wide 1/2" in printed
    assert printed.startswith("silent")
