"""Awkward data for the fit without knobs, and what its optimum is, by a method of its own.

`problem` draws data of the kinds that make solvers fail in silence. `reference` finds the optimum
by Newton's method with the exact Hessian on centred and scaled columns, in float64, and proves it
with the duality gap, or with the gradient in rotated columns. `outcome` fits a problem and says
which promises the model breaks.

    python tests/awkward.py START STOP        # a table of what fails for the seeds of this range
"""

import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve, qr
from scipy.special import logsumexp, softmax, xlogy
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

# --- problems ---


@dataclass(frozen=True)
class Problem:
    """Data, the parameters of the fit, and in words what is awkward."""

    X: np.ndarray | sp.csr_array
    y: np.ndarray
    sample_weight: np.ndarray | None
    penalty: str | None
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    tol: float
    coef_init: np.ndarray | None
    text: str

    @property
    def n_classes(self):
        """How many classes have a row."""
        return len(np.unique(self.y))

    @property
    def strengths(self):
        """``l2, l1`` of ``l2/2 ||W||_2^2 + l1 ||W||_1``, where two classes have two columns."""
        ratio = {None: 0.0, "l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio}[self.penalty]
        alpha = 0.0 if self.penalty is None else self.alpha
        return alpha * (1 - ratio) * (2 if self.n_classes == 2 else 1), alpha * ratio

    def estimator(self, **params):
        """The classifier, not fitted."""
        given = {"penalty": self.penalty, "alpha": self.alpha, "l1_ratio": self.l1_ratio}
        given |= {"fit_intercept": self.fit_intercept, "tol": self.tol, "random_state": 0}
        return SoftmaxSGDClassifier(**(given | params))


# How often each is drawn; a wide problem takes ten times as long as the others.
KINDS = {
    "means": 1,
    "scales": 1,
    "collinear": 1,
    "stamps": 1,
    "heavy": 1,
    "rare columns": 1,
    "rare classes": 1,
    "heavy rows": 1,
    "duplicates": 0.5,
    "contradictions": 0.5,
    "constant": 0.5,
    "separable": 1,
    "wide": 0.4,
}
# Columns that are shifted and nearly collinear lose the digits of both: what is left of the
# deviation that the labels need is at least the square root of the precision.
DIGITS = {np.dtype(np.float64): 8.0, np.dtype(np.float32): 3.5}
# Multiplications of a Newton step of the reference: a tenth of a second at most, mostly less.
COST, COST_OF_FEW = 1e7, 3e8


def problem(seed, attempt=0):
    """The problem of this number; ``attempt`` counts those that had no reference."""
    rng = np.random.default_rng((seed, attempt))
    share = np.array(list(KINDS.values())) / sum(KINDS.values())
    n_kinds = rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])
    kinds = set(rng.choice(list(KINDS), size=n_kinds, replace=False, p=share).tolist())
    dtype = np.dtype(rng.choice([np.float64, np.float32], p=[0.65, 0.35]))
    if dtype == np.float32:
        kinds -= {"stamps"}  # seconds since 1970 have no digits left for a duration
    if "stamps" in kinds:
        kinds -= {"means", "collinear"}
    # Time stamps as they are, not centred, have no digits left either.
    fit_intercept = bool(rng.random() < 0.9) or "stamps" in kinds
    n, d, K = _sizes(rng, kinds)
    Z = _deviations(rng, n, d, kinds)
    digits = rng.uniform(1, 6 if dtype == np.float64 else 3)
    X, needed = Z, Z
    if "collinear" in kinds and d > 1:
        X, needed = _collinear(rng, Z, 10**-digits)
    if "stamps" in kinds and d > 1:
        X, needed = _time_stamps(rng, Z)
    y = _labels(rng, needed, K, kinds)
    X, y = _repeated(rng, X, y, kinds)
    if "constant" in kinds:
        X[:, rng.random(d) < 0.3] = rng.choice([0.0, 1.0, 1e3])
    if "means" in kinds:
        most = digits if "collinear" not in kinds else max(DIGITS[dtype] - digits, 0)
        most = min(most, 6 if fit_intercept else 2)
        ratio = 10 ** rng.uniform(0, most, size=d) * (rng.random(d) < rng.choice([0.2, 1]))
        X = X + ratio * X.std(axis=0)
    if "scales" in kinds:
        X = X * np.exp(rng.uniform(1, 4) * rng.standard_normal(d))
    X = X.astype(dtype)
    if "rare columns" in kinds or rng.random() < 0.15:
        X = sp.csr_array(X)
    y = np.unique(y, return_inverse=True)[1]
    sample_weight = _weights(rng, n, kinds)
    penalty = str(rng.choice(["l2", "l1", "elasticnet", "None"], p=[0.55, 0.2, 0.15, 0.1]))
    alpha = 0.0 if rng.random() < 0.03 else 10 ** rng.uniform(-8, 0)
    made = Problem(
        X, y, sample_weight,
        None if penalty == "None" else penalty,
        float(alpha),
        float(rng.uniform(0.05, 0.95)),
        fit_intercept,
        float(rng.choice([1e-2, 1e-3, 1e-4], p=[0.15, 0.7, 0.15])),
        None, "",
    )  # fmt: skip
    init = _bad_start(rng, made) if rng.random() < 0.1 else None
    text = (
        f"{'+'.join(sorted(kinds)) or 'plain'}; {n}x{d} K={made.n_classes} {dtype.name}"
        f"{' csr' if sp.issparse(X) else ''}; {penalty} alpha={alpha:.0e} tol={made.tol:.0e}"
        f"{'' if fit_intercept else ' no intercept'}{'' if init is None else ' bad start'}"
        f"{'' if sample_weight is None else ' weights'}"
    )
    return replace(made, coef_init=init, text=text)


def _sizes(rng, kinds):
    """Rows, columns and classes: small ones mostly, so that hundreds are solved in seconds."""
    many = rng.random() < 1 / 200
    most = COST_OF_FEW if many or rng.random() < 0.05 else COST
    while True:
        K = int(rng.choice([2, rng.integers(3, 6), rng.integers(6, 31)], p=[0.5, 0.35, 0.15]))
        n, d = int(np.exp(rng.uniform(*np.log([20, 3000])))), int(np.exp(rng.uniform(0, 6)))
        if many:
            K, n, d = 300, int(rng.integers(310, 600)), int(rng.integers(1, 3))
        if "wide" in kinds:
            K, n, d = min(K, 4), int(rng.integers(20, 50)), int(rng.integers(2001, 3000))
        if "stamps" in kinds or "collinear" in kinds:
            d = max(d, 2)
        if "wide" in kinds or (n > K and n * (K * (d + 1)) ** 2 < most):
            return n, d, K


def _deviations(rng, n, d, kinds):
    """Columns around zero, of about unit size."""
    if "heavy" in kinds:
        if rng.random() < 0.5:
            return rng.standard_t(rng.uniform(1.5, 3), size=(n, d))
        return np.exp(rng.uniform(1, 2) * rng.standard_normal((n, d)))
    Z = rng.standard_normal((n, d))
    if "rare columns" in kinds:
        present = rng.random(d) < 0.8
        share = np.minimum(rng.integers(1, 6, size=d) / n, 1)
        Z[:, present] *= rng.random((n, present.sum())) < share[present]
    return Z


def _collinear(rng, Z, eps):
    """Up to 13 columns are one, but for a part of ``eps``, which is what the labels see of them."""
    together = rng.permutation(Z.shape[1])[: rng.integers(2, 14)]
    X = Z.copy()
    X[:, together[1:]] = Z[:, together[:1]] + eps * Z[:, together[1:]]
    return X, np.delete(Z, together[0], axis=1)


def _time_stamps(rng, Z):
    """The first two columns are when an event began and when it ended, in seconds."""
    start = np.floor(1.6e9 + 3e7 * rng.random(len(Z)))
    duration = np.ceil(20 * rng.gamma(2, 1, len(Z)))
    X, needed = Z.copy(), Z.copy()
    X[:, 0], X[:, 1] = start, start + duration
    needed[:, 0], needed[:, 1] = 0, duration / 20 - 2
    return X, needed


def _labels(rng, Z, K, kinds):
    """Classes that depend on a few columns, with noise unless they are separable."""
    coef = rng.standard_normal((Z.shape[1], K)) * (rng.random((Z.shape[1], 1)) < 0.5)
    scores = (Z - Z.mean(axis=0)) @ coef
    scores *= rng.uniform(0.5, 3) / max(np.abs(scores).mean(), 1e-3)
    if "separable" not in kinds:
        scores += rng.gumbel(size=scores.shape)
    if "rare classes" in kinds:
        scores[:, 1:] -= rng.exponential(4, size=K - 1)
    y = scores.argmax(axis=1)
    if "rare classes" in kinds:
        y[: rng.integers(1, 4)] = K - 1
    if len(y) < 4 * K:
        y[:K] = rng.permutation(K)  # many classes, each with a row
    if y.min() == y.max():
        y[0] = (y[0] + 1) % K
    return y


def _repeated(rng, X, y, kinds):
    """Rows that occur many times, with one label or with several."""
    if not kinds & {"duplicates", "contradictions"}:
        return X.copy(), y
    while True:
        few = rng.permutation(len(X))[: max(len(X) // rng.integers(2, 20), 2)]
        rows = rng.choice(few, size=len(X))
        labels = y[rows]
        if "contradictions" in kinds:
            labels = np.where(rng.random(len(X)) < 0.3, rng.permutation(labels), labels)
        if len(np.unique(labels)) > 1:
            return X[rows], labels


def _weights(rng, n, kinds):
    """None, a few rows that weigh as much as all others, or weights of every size."""
    if "heavy rows" in kinds:
        weight = np.ones(n)
        weight[rng.integers(n, size=rng.integers(1, 4))] = 10 ** rng.uniform(1, 4)
        return weight
    return rng.lognormal(sigma=rng.uniform(0.5, 3), size=n) if rng.random() < 0.2 else None


def _bad_start(rng, made):
    """Random weights whose scores are 1, 10 or 100 long."""
    X = _dense(made.X)
    size = np.sqrt(np.mean(X**2, axis=0) * X.shape[1])
    shape = (1 if made.n_classes == 2 else made.n_classes, X.shape[1])
    coef = rng.choice([1, 10, 100]) * rng.standard_normal(shape) / np.where(size > 0, size, 1)
    return coef.astype(made.X.dtype)


# --- the objective ---


def _dense(X):
    """The values in float64, which hold those of float32 exactly."""
    return np.asarray(X.toarray() if sp.issparse(X) else X, dtype=np.float64)


def _losses(Z, y):
    """Cross-entropies, exact also where they are far below eps: log1p of the other classes."""
    Z = Z - Z[np.arange(len(y)), y][:, None]
    top = Z.max(axis=1)  # at least 0, which is the label's
    others = np.exp(Z - top[:, None])
    others[np.arange(len(y)), y] = np.expm1(-top)
    return top + np.log1p(others.sum(axis=1))


@dataclass(frozen=True)
class Centred:
    """A problem in centred columns: ``Z = (X - m) W + (b + m W)``."""

    X: np.ndarray
    mean: np.ndarray
    y: np.ndarray
    weight: np.ndarray  # sums to 1
    l2: float
    l1: float

    @classmethod
    def of(cls, problem):
        """The same objective; without an intercept the columns stay where they are."""
        X = _dense(problem.X)
        weight = np.ones(len(X)) if problem.sample_weight is None else problem.sample_weight
        mean = X[0] + np.mean(X - X[0], axis=0)  # of equal values: that value, exactly
        mean = mean if problem.fit_intercept else np.zeros(X.shape[1])
        return cls(X - mean, mean, problem.y, weight / weight.sum(), *problem.strengths)

    def weights_of(self, model_coef, model_intercept):
        """Those of the centred columns, two for two classes, from those of the estimator."""
        W = np.asarray(model_coef, dtype=np.float64).T
        b = np.zeros(W.shape[1]) + model_intercept
        # The sum has as many digits more than float64 as columns far from zero cost.
        b = np.asarray(b + self.mean.astype(np.longdouble) @ W, dtype=np.float64)
        return (np.hstack([-W / 2, W / 2]), np.hstack([-b / 2, b / 2])) if len(b) == 1 else (W, b)

    def objective(self, W, b):
        """``F(W, b)``."""
        penalty = self.l2 / 2 * np.sum(W**2) + self.l1 * np.abs(W).sum()
        return float(self.weight @ _losses(self.X @ W + b, self.y) + penalty)

    def rounding(self, W, b, dtype):
        """What the objective can be off by where everything is computed and stored in ``dtype``.

        A product, its sum, the loss and the penalty round once each, in units of the terms of the
        scores and of the objective; and the mean of the losses, a sum in float64.
        """
        sums = np.abs(self.X) @ np.abs(W) + np.abs(self.mean) @ np.abs(W) + np.abs(b)
        objective = self.objective(W, b)
        of_terms = 4 * np.finfo(dtype).eps * (self.weight @ sums.max(axis=1) + objective)
        return float(of_terms + np.sqrt(len(self.X)) * np.finfo(np.float64).eps * objective)

    def is_bounded(self, allowed, dtype):
        """Whether the gradient's rounding in ``dtype`` leaves a duality gap below ``allowed``.

        It may be eps of a column's size; what a penalty answers to that is a part of the gap.
        """
        rounding = np.finfo(dtype).eps * np.sqrt(np.mean(self.X**2, axis=0))
        if not self.l2:
            return bool(np.all(rounding < self.l1))
        K = self.y.max() + 1
        return bool(K * np.sum(np.maximum(rounding - self.l1, 0) ** 2) < 2 * self.l2 * allowed)

    def is_precise(self, W, b, allowed, dtype):
        """Whether rounding of scores in ``dtype`` leaves a duality gap below ``allowed``.

        They are rounded in units of their terms, and with them each entry of the gradient. With l1
        alone, what exceeds it by a share shrinks the dual point by that share.
        """
        of_terms = np.finfo(dtype).eps * (np.abs(self.X) @ np.abs(W) + np.abs(b)).max(axis=1)
        rounding = (self.weight * of_terms) @ np.abs(self.X)
        if self.l2:
            return bool(W.shape[1] * np.sum(rounding**2) < 2 * self.l2 * allowed)
        return bool(np.all(rounding * self.objective(W, b) < self.l1 * allowed))


# --- the optimum ---


@dataclass(frozen=True)
class Reference:
    """An objective that is above the optimum by at most ``error``."""

    objective: float
    error: float
    n_steps: int  # until it was found

    def good_for(self, problem, share=1e-2):
        """Whether the error is this share of what the rules of `judge` allow, or less."""
        return self.error <= share * problem.tol * max(self.objective, 1e-3)


LONGEST = 250  # Newton steps; 10 to 40 are the rule
# The scores at the optimum are shorter than this times those found. Without a penalty they may be
# infinite, but then the objective falls as the exponential of their size, and so does its gradient.
BOX = 10.0


def reference(problem, longest=LONGEST):
    """The optimum, by damped Newton steps on columns of unit size.

    For l1 the absolute values are smoothed: ``mu`` is the strength of the barrier of an interior
    point method whose slacks are eliminated. It falls as the steps converge.
    """
    data = Centred.of(problem)
    smooth = Smooth.of(data, problem.fit_intercept)
    T = np.zeros((smooth.A.shape[1], problem.n_classes))
    best = Reference(np.inf, np.inf, 0)
    mu = 0.1 / T.size if data.l1 else 0.0
    for n_steps in range(1, longest + 1):
        value, gradient, P = smooth.at(T, mu)
        step = -smooth.solve(T, mu, gradient, P)
        decrement = -float(np.vdot(gradient, step))
        objective = smooth.objective(T)
        error = objective  # no loss is negative; a proof costs as much as a step
        if n_steps == longest or Reference(objective, decrement, n_steps).good_for(problem):
            error = smooth.error(T, mu, P, decrement, value, objective)
        best = min(best, Reference(objective, error, n_steps), key=lambda met: met.error)
        stuck = n_steps > best.n_steps + 15 and decrement < 1e-13 * objective
        if best.good_for(problem, 1e-3) or stuck:
            break
        length = smooth.step_length(T, mu, step, value, decrement)
        T = T + length * step
        if not length or decrement < 0.1 * mu * T.size:
            if mu * T.size < 1e-9 * problem.tol * objective:
                break  # what is left is rounding
            mu /= 5
    return best


@dataclass(frozen=True)
class Smooth:
    """The objective of weights T in units of the columns' sizes, with l1 smoothed by ``mu``.

    ``mu`` replaces ``l1 |t|`` by ``min_s l1 s - mu log(s^2 - t^2)``, up to a constant; that is
    below it, and by less than a few ``mu``. What proves an optimum are coordinates in which no two
    columns are alike: ``A = U R``, ``C = R T``. In these a gradient is exact to rounding, however
    near to collinear the columns.
    """

    A: np.ndarray  # columns of unit size, the last for the intercept
    U: np.ndarray  # the same, orthogonal; zero from the rank of A on
    R: np.ndarray | None  # None is the identity
    y: np.ndarray
    weight: np.ndarray
    l2: np.ndarray  # a column each
    l1: np.ndarray
    fit_intercept: bool

    @classmethod
    def of(cls, data, fit_intercept):
        """The centred problem in these units; a column that is constant has no part in it."""
        size = np.sqrt(np.mean(data.X**2, axis=0))
        used = size > 0
        size = size[used]
        A, l2, l1 = data.X[:, used] / size, data.l2 / size**2, data.l1 / size
        if fit_intercept:
            A = np.column_stack([A, np.ones(len(A))])
            l2, l1 = np.append(l2, 0.0), np.append(l1, 0.0)
        U, R = (A, None) if A.shape[1] > len(A) else _rotated(A)
        return cls(A, U, R, data.y, data.weight, l2[:, None], l1[:, None], fit_intercept)

    def scores(self, T):
        """``A T``, by the coordinates that lose least."""
        return self.U @ (T if self.R is None else self.R @ T)

    def objective(self, T):
        """The exact one."""
        loss = self.weight @ _losses(self.scores(T), self.y)
        return float(loss + np.sum(self.l2 / 2 * T**2) + np.sum(self.l1 * np.abs(T)))

    def smoothed(self, T, mu):
        """The penalty, its gradient and its second derivatives."""
        square, linear = self.l2 / 2 * T**2, self.l2 * T
        if not mu:
            return square.sum(), linear, np.broadcast_to(self.l2, T.shape)
        root = np.sqrt(mu**2 + (self.l1 * T) ** 2)
        value = square + root - mu - mu * np.log((mu + root) / (2 * mu))
        gradient = linear + self.l1**2 * T / (mu + root)
        return value.sum(), gradient, self.l2 + self.l1**2 * mu / (root * (mu + root))

    def residual(self, P):
        """Probabilities less labels, weighted."""
        R = P.copy()
        R[np.arange(len(self.y)), self.y] -= 1
        return self.weight[:, None] * R

    def at(self, T, mu):
        """Value and gradient, and the probabilities."""
        Z = self.scores(T)
        P = softmax(Z, axis=1)
        penalty, gradient, _ = self.smoothed(T, mu)
        value = self.weight @ _losses(Z, self.y) + penalty
        return value, gradient + self.A.T @ self.residual(P), P

    def error(self, T, mu, P, decrement, value, objective):
        """A bound on how far the objective is above the optimum, the least of three.

        It is not below Newton's decrement, about twice what the next step gains: far from the
        optimum of nearly collinear columns the weights found say little about those that follow.
        """
        gap = self.duality_gap(T, P) if self.l1.any() or self.l2.any() else np.inf
        proven = min(self.slope(T, mu, P, value, objective), gap)
        return float(min(max(proven, decrement), objective))

    def slope(self, T, mu, P, value, objective):
        """By convexity: ``F(T) - F* <= F(T) - F_mu(T) + <grad F_mu(T), C - C*>``.

        It is the finer one where columns are nearly collinear and where the penalty is so small
        that rounding is more than it allows the gradient to be.
        """
        gradient, C = self.smoothed(T, mu)[1], T
        if self.R is not None:
            gradient, C = np.linalg.solve(self.R.T, gradient), self.R @ T
        gradient = gradient + self.U.T @ self.residual(P)
        parts = zip(_of_all_and_each(C), _of_all_and_each(gradient), strict=True)
        fall = sum(np.abs(size).max(initial=1) * np.abs(slope).sum() for size, slope in parts)
        return objective - value + BOX * fall

    def duality_gap(self, T, P):
        """Fenchel's, at the probabilities once their mean is that of the labels.

        It is a sum of terms of which none is negative: the Kullback-Leibler divergences of the
        rows, the penalty's Fenchel-Young gap, what rounding has left of the intercepts' balance.
        """
        Q = self._balanced(P) if self.fit_intercept else P
        if Q.min() < 0:
            return np.inf
        Z = self.scores(T)
        log_proba = Z - logsumexp(Z, axis=1, keepdims=True)
        gap = float(self.weight @ (xlogy(Q, Q) - Q * log_proba - Q + P).sum(axis=1))
        g = self.A.T @ self.residual(Q)
        if self.fit_intercept:
            gap += float(np.abs(g[-1]) @ (1 + np.abs(T[-1])))
            T, g = T[:-1], g[:-1]
        l2, l1 = self.l2[: len(T)], self.l1[: len(T)]
        over = np.maximum(np.abs(g) - l1, 0)
        # The conjugate of the penalty, with the same box: where alpha is tiny the gradient's
        # rounding would ask for weights that no finite sum of scores needs.
        most = BOX * np.abs(T).max(initial=1)
        answer = np.minimum(over / np.maximum(l2, 1e-300), most)
        conjugate = over * answer - l2 / 2 * answer**2
        gap += float(np.sum(l2 / 2 * T**2 + l1 * np.abs(T) + conjugate + T * g))
        return max(gap, 0.0)

    def _balanced(self, P):
        """Probabilities near P of which the mean is the labels'."""
        Q = P
        for _ in range(3):
            J = np.diag(self.weight @ Q) - (Q * self.weight[:, None]).T @ Q
            c = np.linalg.lstsq(J, -self.residual(Q).sum(axis=0), rcond=1e-14)[0]
            Q = Q * (1 + c - (Q @ c)[:, None])
        return Q

    def solve(self, T, mu, gradient, P):
        """The Hessian's inverse times the gradient, by the smaller of two systems."""
        curvature = self.smoothed(T, mu)[2]
        if T.shape[0] > len(self.y):
            return self._solve_in_rows(curvature, gradient, P)
        D, K = T.shape
        A, weight = self.A, self.weight
        joint = (P[:, :, None] * (np.sqrt(weight)[:, None] * A)[:, None, :]).reshape(len(A), K * D)
        H = -(joint.T @ joint).reshape(K, D, K, D)
        for k in range(K):
            H[k, :, k] += (A * (weight * P[:, k])[:, None]).T @ A
            H[k, np.arange(D), k, np.arange(D)] += curvature[:, k]
        # What all classes share moves no probability, and without l1 there is nothing of it in
        # the gradient: the curvature there may be anything but less than rounding.
        free = np.full(D, not mu, dtype=np.float64)
        free[D - self.fit_intercept :] = 1.0
        shared = (A * free * weight[:, None]).T @ (A * free) / K
        H += shared[None, :, None, :] * np.mean(P * (1 - P))
        return _solve(H.reshape(K * D, K * D), gradient.T.ravel()).reshape(K, D).T

    def _solve_in_rows(self, curvature, gradient, P):
        """The same by the Woodbury identity, for more columns than rows."""
        n, K = P.shape
        # Where nothing is penalised the step is shorter by this share of the curvature there is.
        floor = np.full((len(gradient), 1), 1e-14 if curvature.any() else 1e-10)
        if self.fit_intercept:
            floor[-1] = 1e-8
        inverse = 1 / (curvature + floor * (np.mean(P * (1 - P)) + 1e-100))
        # The factor of the curvature of a row: diag(p) - p p' = L L', L = diag(r) (1 - r r').
        r = np.sqrt(P)
        L = np.eye(K) - r[:, :, None] * r[:, None, :]
        L *= (r * np.sqrt(self.weight)[:, None])[:, :, None]
        M = np.stack([(self.A * inverse[:, k]) @ self.A.T for k in range(K)])
        S = np.einsum("ika,kij,jkb->iajb", L, M, L, optimize=True).reshape(n * K, n * K)
        S[np.diag_indices(n * K)] += 1
        there = inverse * gradient
        right = np.einsum("ika,ik->ia", L, self.A @ there).ravel()
        back = np.einsum("ika,ia->ik", L, _solve(S, right).reshape(n, K))
        return there - inverse * (self.A.T @ back)

    def step_length(self, T, mu, step, value, decrement):
        """Halve the step until the objective falls; 0 where it cannot fall by a float."""
        if abs(decrement) < 1e-9 * value:
            return 1.0  # so near that rounding would hide the fall, and Newton's step is the best
        length = 1.0
        while length > 1e-12:
            there = T + length * step
            found = self.weight @ _losses(self.scores(there), self.y) + self.smoothed(there, mu)[0]
            if found <= value - 1e-4 * length * decrement:
                return length
            length /= 2
        return 0.0


def _of_all_and_each(C):
    """What all classes have in common, which moves no probability, and the rest."""
    shared = np.broadcast_to(C.mean(axis=1, keepdims=True), C.shape)
    return shared, C - shared


def _rotated(A):
    """``U, R`` with ``A = U R``, where U is orthogonal, and zero from the rank of A on."""
    U, R, order = qr(A, mode="economic", pivoting=True)
    size = np.abs(np.diag(R))
    rank = np.count_nonzero(size > 1e-13 * size.max(initial=0))
    U[:, rank:], R[rank:] = 0, np.eye(len(R))[rank:]
    unit = np.sqrt(len(A))  # of columns of unit size
    return unit * U, R[:, np.argsort(order)] / unit


def _solve(H, g):
    """Cholesky's method on a unit diagonal, which gets what rounding needs to be definite."""
    scale = 1 / np.sqrt(np.maximum(np.diag(H), 1e-300))
    H = H * scale[:, None] * scale
    ridge = 1e-15
    while True:
        try:
            H[np.diag_indices(len(H))] += ridge
            return scale * cho_solve(cho_factor(H, check_finite=False), scale * g)
        except LinAlgError:
            if not np.isfinite(H).all():
                raise
            ridge *= 10


@cache
def solved(seed):
    """The problem of this number that has a reference, that reference, how many had none."""
    attempt = 0
    while True:
        made = problem(seed, attempt)
        found = reference(made)
        if found.good_for(made):
            return made, found, attempt
        attempt += 1


# --- what a model must keep ---


@dataclass(frozen=True)
class Outcome:
    """A fit, and what is wrong with it."""

    faults: tuple[str, ...]
    text: str
    objective: float
    optimum: float
    gap: float
    n_iter: int
    seconds: float
    warned: bool
    loose: bool  # `gap_` says more than 5 times the true gap, and more than a tenth of tol


def fitted(problem, **params):
    """The model, and whether it warned that it is not at the optimum."""
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        model = problem.estimator(**params)
        model.fit(problem.X, problem.y, problem.sample_weight, coef_init=problem.coef_init)
    return model, any(issubclass(w.category, ConvergenceWarning) for w in met)


def judge(problem, found, model, warned):
    """The faults of a model, its objective, and whether its `gap_` is loose.

    The true gap is at most ``gap_`` where it is a bound, else three times that: without a penalty,
    and where the penalty is below what rounding allows.
    """
    tol, gap_ = problem.tol, model.gap_
    values = (model.coef_, model.intercept_, gap_)
    if not all(np.isfinite(value).all() for value in values):
        return ("not finite",), np.nan, False
    data = Centred.of(problem)
    at = data.weights_of(model.coef_, model.intercept_)
    objective = data.objective(*at)
    rounding = data.rounding(*at, problem.X.dtype)
    gap = objective - found.objective  # the true one is this or more, by at most found.error
    unpenalised = not any(problem.strengths)
    faults = []
    allowed = tol * objective * (3 if unpenalised else 1)
    perfect = unpenalised and objective <= tol  # separable: there is no optimum to be near
    if not warned and not perfect and gap > allowed and gap > 1e-3 * tol:
        faults.append("silent")
    bounded = data.is_bounded(tol * objective, problem.X.dtype)
    close = bounded and data.is_precise(*at, 0.1 * tol * objective, problem.X.dtype)
    if gap > gap_ * objective * (1 if bounded else 3) + rounding:
        faults.append("gap_ too small")
    if warned and gap_ <= tol:
        faults.append("warns of a gap_ below tol")
    known = {"start": _start(problem, data), "intercepts alone": _intercepts_alone(problem, data)}
    for name, point in known.items():
        # Rounding where the fit could have stayed: weights that are too long are no excuse.
        if objective > data.objective(*point) + data.rounding(*point, problem.X.dtype):
            faults.append(f"above the {name}")
    most = max(5 * (gap + found.error + rounding), tol / 10 * objective)
    ended_early = objective < 1e-3 * tol  # a perfect fit need not know its gap
    loose = close and not warned and not ended_early and gap_ * objective > most
    return tuple(faults), objective, bool(loose)


def _start(problem, data):
    """The weights that the fit is given."""
    coef = problem.coef_init
    if coef is None:
        coef = np.zeros((1 if problem.n_classes == 2 else problem.n_classes, data.X.shape[1]))
    return data.weights_of(coef, 0.0)


def _intercepts_alone(problem, data):
    """The best model whose weights are zero."""
    share = np.bincount(data.y, weights=data.weight)
    b = np.log(share) if problem.fit_intercept else np.zeros(len(share))
    return np.zeros((data.X.shape[1], len(share))), b


@cache
def outcome(seed):
    """What the fit makes of the problem of this number."""
    made, found, _ = solved(seed)
    start = time.process_time()
    try:
        model, warned = fitted(made)
    except Exception as error:  # no valid data may raise: that is a fault like others
        fault = f"{type(error).__name__}: {error}"
        nan = float("nan")
        return Outcome((fault[:60],), made.text, nan, found.objective, nan, 0, 0.0, False, False)
    seconds = time.process_time() - start
    faults, objective, loose = judge(made, found, model, warned)
    return Outcome(
        faults, made.text, objective, found.objective,
        model.gap_, model.n_iter_, seconds, warned, loose,
    )  # fmt: skip


def line(seed):
    """A row of the table: what is wrong, the seed, how far, the problem."""
    met = outcome(seed)
    gap = (met.objective - met.optimum) / met.objective if met.objective else 0.0
    state = ", ".join((*met.faults, *["warned"] * met.warned, *["loose"] * met.loose)) or "ok"
    return (
        f"{state:30s} {seed:6d} F={met.objective:.4e} F*={met.optimum:.4e} gap={gap:.1e} "
        f"gap_={met.gap:.1e} {met.n_iter:3d} epochs {met.seconds:6.2f} s  {met.text}"
    )


def main(start, stop):
    """Print what fails between two seeds, and how much of it there is of each kind."""
    began, seeds = time.process_time(), range(start, stop)
    faults, drawn, failing, lines = Counter(), Counter(), Counter(), []
    for seed in seeds:
        met = outcome(seed)
        kinds = met.text.partition(";")[0].split("+")
        state = [*met.faults, *["warned"] * met.warned, *["loose"] * met.loose]
        faults.update(state)
        drawn.update(kinds)
        failing.update(kinds if met.faults else ())
        if state:
            lines.append(line(seed))
    print(*sorted(lines), sep="\n")
    redrawn = sum(solved(seed)[2] for seed in seeds)
    n_failing = sum(bool(outcome(seed).faults) for seed in seeds)
    ours = sum(outcome(seed).seconds for seed in seeds)
    print(f"\n{n_failing} of {len(seeds)} fail, {redrawn} redrawn;", dict(faults.most_common()))
    print("by kind:", ", ".join(f"{kind} {failing[kind]}/{drawn[kind]}" for kind in sorted(drawn)))
    print(f"{time.process_time() - began:.1f} s of CPU, {ours:.1f} of them in fit")


if __name__ == "__main__":
    with threadpool_limits(1):
        main(*map(int, sys.argv[1:]))
