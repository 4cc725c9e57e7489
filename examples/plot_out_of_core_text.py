"""Learn raw text out of core: hash a chunk, predict it, learn it, forget it.

A stream of the 20 newsgroups goes through `HashingVectorizer`, which needs no vocabulary, into
`partial_fit`. Every chunk is predicted before it is learnt, so the curve, the mean log-loss of all
rows so far, is that of rows not seen before. `SGDClassifier` gets the same chunks.

Run it with ``python examples/plot_out_of_core_text.py``, which shows the curve, or with the name of
a picture to write. It takes half a minute and needs matplotlib. The texts come from the folder
named by the environment variable ``SKL_SOFTMAX_DATA``, from ``../shared/data`` beside the checkout,
or from scikit-learn's fetcher, which downloads them.
"""

import argparse
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.datasets import fetch_20newsgroups
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier

from skl_softmax import SoftmaxSGDClassifier

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("This example needs matplotlib: pip install matplotlib") from None

CHUNK = 500
EPS = np.finfo(float).eps  # a probability below it counts as it, as in scikit-learn's log_loss


def read_texts() -> tuple[list[str], np.ndarray]:
    """Texts for training, which stand for a source that could be of any length, and labels."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    for folder in (os.environ.get("SKL_SOFTMAX_DATA"), beside_checkout):
        path = Path(folder or "") / "20newsgroups" / "20newsgroups.jsonl.gz"
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                found = [row for row in map(json.loads, lines) if row["split"] == "train"]
            return [row["text"] for row in found], np.array([row["label"] for row in found])
    fetched = fetch_20newsgroups()
    return fetched.data, np.array(fetched.target_names)[fetched.target]


def chunks(
    texts: list[str], labels: np.ndarray, n_rows: int | None
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Texts and labels in random order, since the source has them class by class."""
    order = np.random.default_rng(0).permutation(len(texts))[:n_rows]
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        yield [texts[row] for row in rows], labels[rows]


def losses(model: ClassifierMixin, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Negative logarithm of the probability of every label."""
    proba = model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return -np.log(np.maximum(proba, EPS))


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("picture", nargs="?", help="file to write (default: show the curve)")
parser.add_argument("--rows", type=int, help="learn so many rows (default: all, 11314)")
options = parser.parse_args()

texts, labels = read_texts()
vectorizer = HashingVectorizer(n_features=2**20, dtype=np.float32)
models = {
    "SoftmaxSGDClassifier": SoftmaxSGDClassifier(new_classes="add", random_state=0),
    "SGDClassifier": SGDClassifier(loss="log_loss", random_state=0),
    "SGDClassifier, average=True": SGDClassifier(loss="log_loss", average=True, random_state=0),
}
met = {name: [] for name in models}
for number, (chunk, y) in enumerate(chunks(texts, labels, options.rows)):
    X = vectorizer.transform(chunk)
    for name, model in models.items():
        if number:
            met[name].append(losses(model, X, y))
        if isinstance(model, SoftmaxSGDClassifier):
            model.partial_fit(X, y)
        else:  # it has to know the classes of the whole stream beforehand
            model.partial_fit(X, y, classes=np.unique(labels))

figure, axes = plt.subplots()
for name, found in met.items():
    n_tested = np.cumsum([len(each) for each in found])
    mean = np.cumsum([each.sum() for each in found]) / n_tested
    axes.plot(CHUNK + n_tested, mean, label=name)
    print(f"{name:30}progressive log-loss {mean[-1]:.3f}")
axes.set(xlabel="rows", ylabel="progressive log-loss", title="20 newsgroups, hashed, one pass")
axes.legend()
if options.picture:
    figure.savefig(options.picture)
else:
    plt.show()
