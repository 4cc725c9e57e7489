"""Data of the benchmarks: ``load(name)`` gives training and test rows.

Looked for in this order: scikit-learn's bundled sets (iris, wine, digits, breast_cancer); the
folder named by the environment variable ``SKL_SOFTMAX_DATA``; the folder ``../shared/data`` beside
the checkout; scikit-learn's own fetchers, which download. A fetched set has the same rows as a
stored one, though not always in the same order.

A data folder holds, for each set, ``<name>/<name>.npz`` with X, y and perhaps X_test and y_test;
or, if sparse, ``<name>_tfidf_train.npz`` and ``<name>_tfidf_test.npz`` (`scipy.sparse.save_npz`)
beside a ``<name>_y.npz`` with y and y_test.

Embeddings are made from the two sets of text, and a few sets by chance: `EMBEDDINGS`, `GENERATED`,
and, with few features that matter, `FEW_MATTER`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.datasets
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, normalize

BUNDLED = ("iris", "wine", "digits", "breast_cancer")
VARIABLE = "SKL_SOFTMAX_DATA"
BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Data:
    """Rows in float32, dense or CSR, unscaled (images: in [0, 1]); labels are codes from 0."""

    X: Any  # (n_samples, n_features)
    y: np.ndarray  # (n_samples,)
    X_test: Any = None  # None for a stream, whose rows are in their order in time
    y_test: np.ndarray | None = None


def load(name: str) -> Data:
    """The data set called ``name``; one of `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}; got {name!r}.")
    if name in BUNDLED:
        return _bundled(name)
    if name in EMBEDDINGS:
        return _embedded(*EMBEDDINGS[name])
    if name in GENERATED:
        return _generated(*GENERATED[name])
    if name in FEW_MATTER:
        return _few_matter(*FEW_MATTER[name])
    for folder in (os.environ.get(VARIABLE), BESIDE_CHECKOUT):
        if folder and (Path(folder) / name).is_dir():
            parts = _stored(Path(folder) / name)
            break
    else:
        parts = FETCHERS[name]()
    X, y, X_test, y_test = parts
    labels, y = np.unique(y, return_inverse=True)
    scale = np.float32(1 / 255 if name == "fashion_mnist" else 1)
    if X_test is None:
        return Data(X.astype(np.float32) * scale, y)
    return Data(
        X.astype(np.float32) * scale,
        y,
        X_test.astype(np.float32) * scale,
        np.searchsorted(labels, y_test),
    )


def random_csr(n_samples: int, n_features: int, n_classes: int, nonzeros: int = 80) -> Data:
    """Float32 rows of norm 1 with exactly ``nonzeros`` entries, spread evenly over the features.

    Every feature votes for one class; the label is the class with most votes, after some noise.
    """
    rng = np.random.default_rng(0)
    indices = (np.arange(nonzeros) + rng.random((n_samples, nonzeros))) * (n_features / nonzeros)
    values = rng.random((n_samples, nonzeros), dtype=np.float32) + np.float32(0.1)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    X = sp.csr_array(
        (
            values.ravel(),
            indices.astype(np.int32).ravel(),
            np.arange(0, n_samples * nonzeros + 1, nonzeros, dtype=np.int32),
        ),
        shape=(n_samples, n_features),
    )
    votes = sp.csr_array(
        (
            np.ones(n_features, np.float32),
            rng.integers(n_classes, size=n_features),
            np.arange(n_features + 1),
        ),
        shape=(n_features, n_classes),
    )
    noise = rng.standard_normal((n_samples, n_classes), dtype=np.float32)
    return Data(X, ((X @ votes).toarray() + noise / 4).argmax(axis=1))


def _bundled(name):
    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X.astype(np.float32), y, test_size=0.25, stratify=y, random_state=0
    )
    return Data(X, y, X_test, y_test)


def _embedded(text, rows_a_class):
    """Rows of length 1 in the 384 first singular directions; the first so many of each class."""
    data = load(text)
    svd = TruncatedSVD(384, random_state=0).fit(data.X)
    X, X_test = (
        normalize(svd.transform(rows)).astype(np.float32) for rows in (data.X, data.X_test)
    )
    order = np.argsort(data.y, kind="stable")
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - np.searchsorted(data.y[order], data.y[order])
    few = np.flatnonzero(rank < (rows_a_class or len(order)))
    return Data(X[few], data.y[few], X_test, data.y_test)


def _generated(n_samples, n_features, n_classes, sigma):
    """Rows of length 1 around the mean of their class, columns in units of ``e^(sigma normal)``."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_classes
    means = rng.standard_normal((n_classes, n_features))
    X = normalize(means[y] + rng.standard_normal((n_samples, n_features)))
    return Data((X * np.exp(sigma * rng.standard_normal(n_features))).astype(np.float32), y)


def _few_matter(rows, n_samples, n_features, n_classes):
    """Labels by chance, with odds that twenty features (of spectra: twelve bumps) decide."""
    rng = np.random.default_rng(0)
    X, told = rows(rng, n_samples, n_features)
    scores = told @ rng.standard_normal((told.shape[1], n_classes))
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return Data(X.astype(np.float32), np.unique(y, return_inverse=True)[1])


def _some_of(rng, X, scale):
    return scale * X[:, rng.choice(X.shape[1], 20, replace=False)]


def _normal(rng, n, d):
    X = rng.standard_normal((n, d))
    return X, _some_of(rng, X, 0.7)


def _uniform(rng, n, d):
    X = rng.random((n, d))
    return X, _some_of(rng, X, 3)


def _uncentred(rng, n, d):
    X = rng.standard_normal((n, d))
    return X + 10 * rng.random(d), _some_of(rng, X, 0.7)


def _unlike(rng, n, d):
    X = rng.standard_normal((n, d))
    return X * np.exp(1.5 * rng.standard_normal(d)), _some_of(rng, X, 0.7)


def _correlated(rng, n, d):
    X = rng.standard_normal((n, 10)) @ rng.standard_normal((10, d)) / 3
    X += rng.standard_normal((n, d))
    return X, _some_of(rng, X, 0.4)


def _counts(rng, n, d):
    rates = np.minimum(30 / np.arange(1, d + 1), 3) * np.exp(0.3 * rng.standard_normal(d))
    X = rng.poisson(rates, (n, d))
    return sp.csr_array(X), np.log1p(X[:, 1:21])


def _binary(rng, n, d):
    X = sp.random_array((n, d), density=20 / d, rng=rng, format="csr")
    X.data[:] = 1
    return X, 2 * X[:, rng.choice(d, d // 10, replace=False)].toarray()


def _spectra(rng, n, d):
    centres, widths = rng.random(12), 0.03 + 0.1 * rng.random(12)
    bumps = np.exp(-0.5 * ((np.linspace(0, 1, d) - centres[:, None]) / widths[:, None]) ** 2)
    amounts = rng.gamma(2, 1, (n, 12))
    return amounts @ bumps + 0.002 * rng.standard_normal((n, d)) + 0.5, amounts


def _stored(folder):
    name = folder.name
    if (folder / f"{name}.npz").exists():
        found = np.load(folder / f"{name}.npz")
        return found["X"], found["y"], found.get("X_test"), found.get("y_test")
    labels = np.load(folder / f"{name}_y.npz")
    X, X_test = (sp.load_npz(folder / f"{name}_tfidf_{part}.npz") for part in ("train", "test"))
    return X, labels["y"], X_test, labels["y_test"]


def _fetch_fashion_mnist():
    return _fetch_openml("Fashion-MNIST", 60000)


def _fetch_letter():
    return _fetch_openml("letter", 16000)


def _fetch_openml(name, n_train):
    X, y = sklearn.datasets.fetch_openml(name, version=1, return_X_y=True, as_frame=False)
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def _fetch_elec2_stream():
    table = sklearn.datasets.fetch_openml("electricity", version=1, as_frame=False)
    names = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]
    columns = [table.feature_names.index(name) for name in names]
    return table.data[:, columns], table.target, None, None


def _fetch_kdd99_10pct():
    X, y = sklearn.datasets.fetch_kddcup99(percent10=True, return_X_y=True)
    words = [1, 2, 3]  # protocol_type, service, flag
    numbers = np.delete(X, words, axis=1).astype(np.float32)
    return np.hstack([numbers, OneHotEncoder().fit_transform(X[:, words]).toarray()]), y, None, None


def _fetch_20newsgroups():
    train, test = (
        sklearn.datasets.fetch_20newsgroups(subset=part, shuffle=False)
        for part in ("train", "test")
    )
    tfidf = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
    return tfidf.fit_transform(train.data), train.target, tfidf.transform(test.data), test.target


def _fetch_clinc150():
    raise FileNotFoundError(
        "scikit-learn has no fetcher for clinc150. Set the environment variable "
        f"{VARIABLE} to a folder that holds clinc150/ in the format of benchmarks/datasets.py."
    )


FETCHERS = {
    "fashion_mnist": _fetch_fashion_mnist,  # images: 60000 x 784, 10 classes
    "letter": _fetch_letter,  # shapes of letters: 16000 x 16, 26 classes
    "kdd99_10pct": _fetch_kdd99_10pct,  # network records, stream: 494021 x 118, 23 classes
    "elec2_stream": _fetch_elec2_stream,  # electricity prices, stream: 45312 x 6, 2 classes
    "20newsgroups": _fetch_20newsgroups,  # text, CSR: 11314 x 56436, 20 classes; grouped by class
    "clinc150": _fetch_clinc150,  # short text, CSR: 18000 x 3056, 150 classes; grouped by class
}
EMBEDDINGS = {  # the text, and how many rows of each class; None: all
    "20newsgroups_384": ("20newsgroups", None),
    "clinc150_384": ("clinc150", None),
    "20newsgroups_384_eight": ("20newsgroups", 8),
    "clinc150_384_eight": ("clinc150", 8),
}
GENERATED = {  # rows, features, classes, how unlike the units of the columns are
    "eight_a_class": (160, 384, 20, 0.0),
    "two_a_class": (250, 1500, 125, 0.0),
    "unlike_columns": (6000, 768, 300, 1.0),
}
FEW_MATTER = {  # rows, how many, features, classes
    "normal": (_normal, 1000, 100, 3),
    "normal_wide": (_normal, 4000, 500, 2),
    "uniform": (_uniform, 2000, 300, 3),
    "uncentred": (_uncentred, 1500, 65, 4),
    "unlike": (_unlike, 1000, 2000, 2),
    "correlated": (_correlated, 1000, 300, 3),
    "counts": (_counts, 1000, 2000, 5),
    "counts_wide": (_counts, 257, 20000, 2),
    "binary": (_binary, 2000, 5000, 4),
    "spectra": (_spectra, 200, 400, 3),
}
NAMES = (*BUNDLED, *FETCHERS, *EMBEDDINGS, *GENERATED, *FEW_MATTER)
