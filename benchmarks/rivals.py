"""Contenders: functions of a number of epochs, which they run from zero.

Those that learn return a ``predict_proba``. Softmax regression by hand is written here twice, as
one writes it in a notebook: it is what a user has today without this package.
"""

import warnings

import numpy as np
from _harness import clock
from sklearn.exceptions import ConvergenceWarning

try:
    import torch
except ImportError:  # left out, which the facts of a report say
    torch = None

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
