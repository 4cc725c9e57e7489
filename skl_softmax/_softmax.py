"""The method, in NumPy: softmax, cross-entropy, residual, batch gradient, batch weight update.

This file is the truth that every faster form in the package is tested against.

The model
---------
Rows ``x_i`` in R^d, labels ``y_i`` as one-hot vectors in R^K, weights ``s_i >= 0``; parameters
``W`` (d x K) and ``b`` (K). The linear scores and the softmax that turns them into probabilities:

    z_i = x_i W + b                            S(z)_k = exp(z_k) / sum_j exp(z_j)

The loss of a row is the negative log-likelihood of its label, the cross-entropy:

    CE_i = - sum_k y_ik log S(z_i)_k  =  logsumexp(z_i) - z_i[label]

The derivation, in four lines
-----------------------------
1. Softmax. With ``log S_i = z_i - logsumexp(z)`` and ``d logsumexp(z) / dz_j = S_j``:

       dS_i / dz_j = S_i (delta_ij - S_j)                                    [`softmax_jacobian`]

2. Scores. ``dCE / dS_k = -y_k / S_k``, so by the chain rule, and because the ``y_k`` sum to one:

       dCE / dz_j = - sum_k y_k / S_k * S_k (delta_kj - S_j) = S_j - y_j             [`residual`]

3. Weights. ``dz_j / dW_lj = x_l`` and ``dz_j / db_j = 1``:

       dCE / dW = x^T (S - y)                  dCE / db = S - y

4. Batch. The gradient of the mean over ``B`` rows is the mean of their gradients:

       G = 1/B sum_i x_i^T s_i (S(z_i) - y_i) = 1/B X^T R                      [`batch_gradient`]

   and a step of length ``eta`` against it is the batch weight update:

       W <- W - eta * 1/B sum_i x_i^T s_i (S(z_i) - y_i)                         [`batch_update`]

Everything else in the package is a term added to this line: a penalty (`_penalties`), a rule for
``eta`` and a memory of earlier gradients (`_textbook`), a target that each row remembers or the
curvature of all rows (`_optimum`), coordinates that are learnt with the weights (`_online`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Codes = NDArray[np.intp]  # class codes, 0 to K - 1


def scores(X: Any, W: Floats, b: Floats) -> Floats:
    """``Z = X W + b``, shape (n, K), for dense or CSR ``X`` of shape (n, d)."""
    return X @ W + b


def softmax(Z: Floats) -> Floats:
    """``S(z)`` of every row of ``Z``; the row maximum is subtracted first, so nothing overflows."""
    S = np.exp(Z - Z.max(axis=1, keepdims=True))
    return S / S.sum(axis=1, keepdims=True)


def log_softmax(Z: Floats) -> Floats:
    """``log S(z) = z - logsumexp(z)`` of every row of ``Z``: finite for finite scores."""
    Z = Z - Z.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))


def softmax_jacobian(z: Floats) -> Floats:
    """``dS_i / dz_j = S_i (delta_ij - S_j)``, shape (K, K), for one vector of scores ``z``."""
    S = softmax(z[None, :])[0]
    return np.diag(S) - np.outer(S, S)


def cross_entropy(Z: Floats, y: Codes) -> Floats:
    """``logsumexp(z_i) - z_i[y_i]`` of every row, shape (n,)."""
    return -log_softmax(Z)[np.arange(len(y)), y]


def residual(Z: Floats, y: Codes) -> Floats:
    """``dCE_i / dz = S(z_i) - y_i`` of every row, shape (n, K)."""
    R = softmax(Z)
    R[np.arange(len(y)), y] -= 1
    return R


def batch_gradient(X: Any, R: Floats) -> tuple[Floats, Floats]:
    """Mean over the rows of ``dCE/dW = x^T r`` (d x K) and of ``dCE/db = r`` (K)."""
    return X.T @ R / R.shape[0], R.mean(axis=0)


def batch_update(
    W: Floats, b: Floats, X: Any, y: Codes, s: Floats, eta: float
) -> tuple[Floats, Floats]:
    """THE UPDATE: ``W <- W - eta * 1/B sum_i x_i^T s_i (S(z_i) - y_i)``, and ``b`` with x_i = 1."""
    R = s[:, None] * residual(scores(X, W, b), y)
    G, g = batch_gradient(X, R)
    return W - eta * G, b - eta * g
