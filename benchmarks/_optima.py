"""The objective at given parameters, and reference optima: computed once, then kept on disk.

The optimum of multinomial logistic regression is computed in float64 and in coordinates in which
the curvature is even, which do not change it: equal rows are merged into one with a weight, dense
columns are centred (which the intercept absorbs) and rotated and stretched so that their Bohning
bound, half the covariance plus alpha, is the identity. First some steps of L-BFGS, then Newton's,
each by conjugate gradients with one curvature matrix a class (a diagonal one on CSR), until half
the Newton decrement, a second-order estimate of what is left, is below `ENOUGH` of the objective.

With l1 it is this package's own, in float64, and how near it is the duality gap tells, which is
computed here.

The folder is named by the environment variable ``SKL_SOFTMAX_CACHE``; default
``~/.cache/skl_softmax``. A file is named after the data set, a checksum of its rows, and alpha.
"""

import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import entr, log_expit, logsumexp, softmax

from skl_softmax import SoftmaxSGDClassifier

ENOUGH = 1e-7  # relative gap before the last step: 1e-3 of the smallest gap that is timed
SECONDS = 240  # of the processor, for one computation; `left` says how far it came
LBFGS_STEPS = 50  # to come near; on separable data Newton's steps are far quicker from there
CG_STEPS, CG_TOL = 100, 0.02  # a Newton step ends where the residual is 2% of the first
STALE = 15  # CG steps after which the next Newton step takes a metric of its own
REST = 1e-3  # share of a class's weight whose rows, those of least weight, a metric leaves out
FLOOR = 1e-12  # curvatures below it, relative to the largest, are rounding errors
CHUNK = 50000  # rows that are converted to float64 at a time


@dataclass(frozen=True)
class Optimum:
    """Parameters of the reference, as those of a fitted classifier, and how good they are."""

    coef: np.ndarray  # (n_classes, n_features), or (1, n_features)
    intercept: np.ndarray
    objective: float
    gradient_norm: float  # largest entry, per standard deviation of a column: scale-free
    left: float  # half the Newton decrement over the objective: the relative gap before that step
    seconds: float


def objective(X, y, coef, intercept, alpha, penalty="l2"):
    """Mean cross-entropy + penalty in float64; two classes: one row of coef."""
    coef, intercept = np.asarray(coef, float), np.asarray(intercept, float)
    total = 0.0
    for start in range(0, len(y), CHUNK):
        rows = slice(start, start + CHUNK)
        Z = X[rows].astype(float) @ coef.T + intercept
        total += cross_entropy(Z, y[rows]).sum()
    return total / len(y) + alpha * (np.abs(coef).sum() if penalty == "l1" else np.sum(coef**2) / 2)


def cross_entropy(Z, y):
    """Of every row, from its scores: one column of them if there are two classes."""
    if Z.shape[1] == 1:
        return -log_expit(np.where(y == 1, Z[:, 0], -Z[:, 0]))
    return logsumexp(Z, axis=1) - Z[np.arange(len(y)), y]


def optimum(name, X, y, alpha, penalty="l2"):
    """From the cache, or computed and put there; ``name`` is only for the eye."""
    if penalty == "l1":
        name += "-l1"
    folder = Path(os.environ.get("SKL_SOFTMAX_CACHE", "~/.cache/skl_softmax")).expanduser()
    file = folder / f"{name}-{checksum(X, y):08x}-{alpha:.4g}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.tmp")
        with partial.open("wb") as stream:
            np.savez(stream, **vars((compute_sparse if penalty == "l1" else compute)(X, y, alpha)))
        partial.replace(file)
    with np.load(file) as found:
        parts = {key: found[key] if found[key].ndim else float(found[key]) for key in found}
    return Optimum(**parts)


def checksum(X, y):
    """Of all rows and labels."""
    arrays = (X.data, X.indices, X.indptr, y) if sp.issparse(X) else (X, y)
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def compute(X, y, alpha, seconds=SECONDS):
    """The optimum of F(W, b) = mean cross-entropy + alpha / 2 |W|^2."""
    start = time.process_time()
    problem, coordinates = even_problem(X, y, alpha)
    V = np.zeros((problem.A.shape[1], problem.n_classes))
    V = lbfgs(problem, V)
    V, left, G = newton(problem, V, start + seconds)
    coef, intercept = coordinates.parameters(V)
    value = objective(X, y, coef, intercept, alpha)
    norm = float(max(np.abs(coordinates.per_deviation(G)).max(), np.abs(G[-1]).max()))
    return Optimum(coef, intercept, value, norm, left, time.process_time() - start)


def compute_sparse(X, y, alpha):
    """The optimum of F(W, b) = mean cross-entropy + alpha |W|_1."""
    start = time.process_time()
    model = SoftmaxSGDClassifier(
        penalty="l1", alpha=alpha, tol=ENOUGH, max_iter=2000, random_state=0
    )
    model.fit(X.astype(float), y)
    value = objective(X, y, model.coef_, model.intercept_, alpha, "l1")
    bound, norm = dual_objective(X.astype(float), y, model.coef_, model.intercept_, alpha)
    left, seconds = 1 - bound / value, time.process_time() - start
    return Optimum(model.coef_, model.intercept_, value, norm, left, seconds)


def dual_objective(X, y, coef, intercept, alpha):
    """A lower bound of F with l1, from the predictions; and their largest gradient over alpha.

    That is the mean entropy of any Q of which ``sum (Q - Y) = 0`` and ``|X^T (Q - Y)| <= n alpha``.
    Intercepts see to the one, and mixing with the labels Y to the other.
    """
    n = len(y)
    Y = np.eye(int(y.max()) + 1)[y]
    Z = X @ coef.T + intercept
    Z = np.column_stack([np.zeros(n), Z]) if Z.shape[1] == 1 else Z
    for _ in range(20):  # Newton's method
        P = softmax(Z, axis=1)
        away = (P - Y).sum(axis=0)
        Z -= np.linalg.pinv(np.diag(P.sum(axis=0)) - P.T @ P) @ away
    P = softmax(Z, axis=1)
    norm = float(np.abs(X.T @ (P - Y)).max() / (n * alpha))
    Q = Y + (P - Y) / max(norm, 1.0)
    return float(entr(np.clip(Q, 0, 1)).sum() / n), norm


@dataclass(frozen=True)
class Coordinates:
    """W = stretch @ V, and the last row of V is the intercept at the centre of the rows."""

    centre: Any
    deviation: Any
    stretch: Any  # (n_features, n_features), or None for the identity

    def parameters(self, V):
        """As (coef_, intercept_) of a fitted classifier."""
        W, b = V[:-1] if self.stretch is None else self.stretch @ V[:-1], V[-1]
        b = b - self.centre @ W
        if V.shape[1] == 2:
            W, b = W[:, 1:] - W[:, :1], b[1:] - b[:1]
        return W.T, b

    def per_deviation(self, G):
        """Gradient in W times one over the deviation of its column, from that in V."""
        if self.stretch is None:
            return G[:-1] / self.deviation[:, None]
        inverse_transpose = np.linalg.solve(self.stretch.T, G[:-1])
        return inverse_transpose / self.deviation[:, None]


@dataclass(frozen=True)
class Problem:
    """sum_i s_i CE(A_i V) + <V, Q V> / 2 with sum s = 1; the last column of A is one."""

    A: Any  # (n, d + 1), float64, dense or CSR
    y: np.ndarray
    s: np.ndarray
    Q: Any  # (d + 1, d + 1)
    n_classes: int

    def at(self, V, Z=None):
        """Objective, gradient and probabilities; Z = A V if that is known."""
        Z = self.A @ V if Z is None else Z
        log_total = logsumexp(Z, axis=1, keepdims=True)
        rows = np.arange(len(self.y))
        pull = self.Q @ V
        value = self.s @ (log_total[:, 0] - Z[rows, self.y]) + np.sum(V * pull) / 2
        P = np.exp(Z - log_total)
        R = self.s[:, None] * P
        R[rows, self.y] -= self.s
        return value, self.A.T @ R + pull, P

    def curvature(self, P, D):
        """Hessian at the probabilities P, times D."""
        T = P * (self.A @ D)
        T -= P * T.sum(axis=1, keepdims=True)
        return self.A.T @ (self.s[:, None] * T) + self.Q @ D

    def metric(self, P):
        """A function that solves with the curvature within each class, the classes being apart."""
        weights = self.s[:, None] * P * (1 - P)
        if sp.issparse(self.A):
            diagonal = self.A.power(2).T @ weights + self.Q.diagonal()[:, None]
            diagonal += FLOOR * diagonal.max()
            return lambda G: without_mean(G / diagonal)
        inverses = []
        for weight in weights.T:
            order = np.argsort(weight)
            below = np.cumsum(weight[order])
            first = np.searchsorted(below, REST * below[-1])
            A = self.A[order[first:]]
            B = A.T @ (weight[order[first:], None] * A) + self.Q
            # In these coordinates the mean of the squared rows is twice the identity.
            B[np.diag_indices_from(B)] += 2 * (below[first - 1] if first else 0.0)
            values, vectors = np.linalg.eigh(B)
            values = np.maximum(values, FLOOR * values[-1])
            inverses.append((vectors / values) @ vectors.T)
        inverses = np.array(inverses)  # (K, d + 1, d + 1)
        return lambda G: without_mean(np.matmul(inverses, G.T[:, :, None])[:, :, 0].T)


def without_mean(G):
    """Less the mean over the classes, along which the scores do not matter."""
    return G - G.mean(axis=1, keepdims=True)


def even_problem(X, y, alpha):
    """The problem with merged rows in even coordinates, and the way back."""
    n, d = X.shape
    n_classes = int(y.max()) + 1
    # With two classes the columns of W are -w/2 and w/2, whose square is half of w's.
    alpha = 2 * alpha if n_classes == 2 else alpha
    if sp.issparse(X):
        A = sp.hstack([X.astype(float), np.ones((n, 1))], format="csr")
        Q = sp.diags_array(np.append(np.full(d, alpha), 0.0))
        mean_square = X.astype(float).power(2).mean(axis=0)
        deviation = np.sqrt(np.asarray(mean_square).ravel())
        way_back = Coordinates(np.zeros(d), np.where(deviation > 0, deviation, 1), None)
        return Problem(A, y, np.full(n, 1 / n), Q, n_classes), way_back
    X, y, s = merge_equal_rows(X, y)
    centre = s @ X
    A = X - centre
    deviation = np.sqrt(s @ A**2)
    deviation[deviation <= FLOOR * np.abs(centre)] = 1
    A /= deviation
    bound = (A.T * s) @ A / 2 + np.diag(alpha / deviation**2)
    values, vectors = np.linalg.eigh(bound)
    stretch = vectors / np.sqrt(np.maximum(values, FLOOR * values[-1]))
    A = np.column_stack([A @ stretch, np.ones(len(A))])
    stretch /= deviation[:, None]
    Q = np.zeros((d + 1, d + 1))
    Q[:d, :d] = alpha * stretch.T @ stretch
    return Problem(A, y, s, Q, n_classes), Coordinates(centre, deviation, stretch)


def merge_equal_rows(X, y):
    """Rows in float64 without repetition, their labels, and the share of each."""
    keys = np.column_stack([np.ascontiguousarray(X), y.astype(X.dtype)])
    keys = keys.view(np.dtype((np.void, keys.shape[1] * keys.itemsize))).ravel()
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return X[first].astype(float), y[first], counts / len(y)


def lbfgs(problem, V):
    """A few steps of L-BFGS from V."""
    shape = V.shape

    def flat(v):
        value, G, _ = problem.at(v.reshape(shape))
        return value, G.ravel()

    options = {"maxcor": 20, "maxiter": LBFGS_STEPS}
    found = minimize(flat, V.ravel(), jac=True, method="L-BFGS-B", options=options)
    return without_mean(found.x.reshape(shape))


def newton(problem, V, deadline):
    """V, the relative gap estimated to be left, and the gradient."""
    Z = problem.A @ V
    value, G, P = problem.at(V, Z)
    left, solve = np.inf, None
    while time.process_time() < deadline:
        solve = solve or problem.metric(P)
        D, n_steps = conjugate_gradients(problem, P, -G, solve, deadline)
        solve = None if n_steps > STALE else solve
        slope = np.sum(G * D)
        left = float(-slope / 2 / value)
        step, change = 1.0, problem.A @ D
        while True:
            new = problem.at(V + step * D, Z + step * change)
            if new[0] <= value + 1e-4 * step * slope or step < 1e-6:
                break
            step /= 2
        if new[0] >= value:
            break  # rounding errors are all that is left
        V, Z = V + step * D, Z + step * change
        value, G, P = new
        if left <= ENOUGH:
            break
    return V, left, G


def conjugate_gradients(problem, P, B, solve, deadline):
    """D with H D close to B, in the metric of ``solve``, and the number of steps."""
    D, R = np.zeros_like(B), B
    M = solve(R)
    rho = first = np.sum(R * M)
    direction, n_steps = M, 0
    while n_steps < CG_STEPS and rho > CG_TOL**2 * first and time.process_time() < deadline:
        curved = problem.curvature(P, direction)
        length = rho / np.sum(direction * curved)
        D, R = D + length * direction, R - length * curved
        M = solve(R)
        rho, old = np.sum(R * M), rho
        direction = M + rho / old * direction
        n_steps += 1
    return D, n_steps
