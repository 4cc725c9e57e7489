"""Contenders: functions of a number of epochs, which they run from zero; and models for streams.

Those that learn return a ``predict_proba``. Softmax regression by hand is written here twice, as
one writes it in a notebook: it is what a user has today without this package.
"""

import os
import warnings
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
from _harness import clock
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

# Those that are missing are left out, which the facts of a report say.
try:
    import torch
except ImportError:
    torch = None
try:
    import vowpalwabbit
except ImportError:
    vowpalwabbit = None
try:
    from cyanure.estimators import Classifier as CyanureClassifier
except ImportError:
    CyanureClassifier = None
try:
    import river
    import river.linear_model
except ImportError:
    river = None

ALPHA = 1e-5


def estimator(model, data):
    """A contender that fits anew for a number of epochs."""

    def run(n_epochs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.set_params(max_iter=n_epochs).fit(data.X, data.y).predict_proba

    return run


def softmax(Z):
    """Row by row."""
    S = np.exp(Z - Z.max(axis=1, keepdims=True))
    return S / S.sum(axis=1, keepdims=True)


def numpy_loop(data, batch_size, eta):
    """Minibatch SGD as one writes it in a notebook, on dense rows or CSR."""
    X, y = data.X, data.y

    def run(n_epochs):
        rng = np.random.default_rng(0)
        W = np.zeros((X.shape[1], y.max() + 1), np.float32)
        b = np.zeros(W.shape[1], np.float32)
        for _ in range(n_epochs):
            order = rng.permutation(len(y))
            for start in range(0, len(y), batch_size):
                batch = order[start : start + batch_size]
                rows = X[batch]
                R = softmax(rows @ W + b)
                R[np.arange(len(batch)), y[batch]] -= 1
                R /= len(batch)
                W -= eta * (rows.T @ R + ALPHA * W)
                b -= eta * R.sum(axis=0)
        return lambda X: softmax(X @ W + b)

    return run


def torch_loop(data, batch_size, eta, threads):
    """The same in PyTorch."""
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    loss = torch.nn.CrossEntropyLoss()

    def run(n_epochs):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = torch.nn.Linear(X.shape[1], int(y.max()) + 1)
        optimizer = torch.optim.SGD(model.parameters(), eta, weight_decay=ALPHA)
        for _ in range(n_epochs):
            for batch in torch.randperm(len(y)).split(batch_size):
                optimizer.zero_grad()
                loss(model(X[batch]), y[batch]).backward()
                optimizer.step()
        return lambda X: softmax(model(torch.from_numpy(X)).detach().numpy())

    return run


def two_products(data):
    """The least that an epoch on CSR has to do: one pass of scores, one of gradients."""
    W = np.zeros((data.X.shape[1], data.y.max() + 1), np.float32)
    R = np.zeros((data.X.shape[0], W.shape[1]), np.float32)

    def run(n_epochs):
        for _ in range(n_epochs):
            data.X @ W
            data.X.T @ R

    return run


def one_read(data):
    """The least that an epoch on dense rows has to do, by the quickest of three ways."""
    X, v = data.X, np.ones(data.X.shape[1], np.float32)
    ways = {"X.sum()": X.sum, "X @ v": lambda: X @ v, "dot": lambda: X.ravel() @ X.ravel()}
    seconds = {name: min(clock(way) for _ in range(7)) for name, way in ways.items()}
    best = min(seconds, key=seconds.get)
    return f"floor: {best}", lambda n_epochs: [ways[best]() for _ in range(n_epochs)]


class Cyanure:
    """Cyanure's classifier with l1, silent, on one thread, with coefficients as scikit-learn's."""

    def __init__(self, alpha, n_classes, max_iter=500):
        self.alpha, self.n_classes, self.max_iter = alpha, n_classes, max_iter

    def set_params(self, max_iter):
        """As of an estimator."""
        self.max_iter = max_iter
        return self

    def fit(self, X, y):
        """Computes no duality gap before the last epoch."""
        loss = "logistic" if self.n_classes == 2 else "multiclass-logistic"
        model = CyanureClassifier(
            loss=loss, penalty="l1", lambda_1=self.alpha, fit_intercept=True, tol=1e-12,
            max_iter=self.max_iter, duality_gap_interval=self.max_iter, verbose=False, n_threads=1,
        )  # fmt: skip
        with silenced():
            model.fit(X, y)
        self.coef_ = np.reshape(model.coef_, (X.shape[1], -1)).T
        self.intercept_, self.n_iter_ = np.ravel(model.intercept_), model.n_iter_
        return self


@contextmanager
def silenced():
    """Without what compiled code prints."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


class Scaled:
    """A model behind a StandardScaler that learns from the same stream, a chunk ahead."""

    def __init__(self, model):
        self.model, self.scaler = model, StandardScaler()

    def partial_fit(self, X, y, classes):
        """Scaler, then model."""
        X = self.scaler.partial_fit(X).transform(X)
        self.model.partial_fit(X, y, classes=classes)

    def predict_proba(self, X):
        """Of the model, on scaled rows."""
        return self.model.predict_proba(self.scaler.transform(X))


class VowpalWabbit:
    """One against all with logistic losses, Vowpal Wabbit's way to multiclass probabilities.

    22 bits, not 18, so that features of text do not share weights. Rows are its lines of text.
    """

    def __init__(self, n_classes):
        options = f"--oaa {n_classes} --loss_function logistic --probabilities -b 22 --quiet"
        self.workspace = vowpalwabbit.Workspace(options)

    @staticmethod
    def form(X):
        """Lines without a label."""
        return [
            "| " + " ".join([f"{feature}:{value:.7g}" for feature, value in row.items()])
            for row in as_dicts(X)
        ]

    def partial_fit(self, lines, y, classes):
        """Row by row; the classes are known from the beginning."""
        for line, label in zip(lines, y, strict=True):
            self.workspace.learn(f"{label + 1} {line}")

    def predict_proba(self, lines):
        """Row by row."""
        return np.array([self.workspace.predict(line) for line in lines])


class River:
    """river's SoftmaxRegression. Rows are dicts of the entries that are not zero."""

    def __init__(self, n_classes):
        self.model, self.n_classes = river.linear_model.SoftmaxRegression(), n_classes

    @staticmethod
    def form(X):
        """Feature -> value, a dict a row."""
        return as_dicts(X)

    def partial_fit(self, rows, y, classes):
        """Row by row; classes are met as they come."""
        for row, label in zip(rows, y.tolist(), strict=True):
            self.model.learn_one(row, label)

    def predict_proba(self, rows):
        """Row by row; classes not met have probability zero."""
        proba = np.zeros((len(rows), self.n_classes))
        for i, row in enumerate(rows):
            for label, share in self.model.predict_proba_one(row).items():
                proba[i, label] = share
        return proba


def as_dicts(X):
    """Rows as dicts of their non-zeros."""
    X = sp.csr_array(X)
    cuts = list(zip(X.indptr[:-1], X.indptr[1:], strict=True))
    indices, values = X.indices.tolist(), X.data.tolist()
    return [dict(zip(indices[a:b], values[a:b], strict=True)) for a, b in cuts]
