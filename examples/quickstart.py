"""The main job on data that scikit-learn bundles: fit, compare, search, stream.

Run it with ``python examples/quickstart.py``; it takes some seconds.
"""

from time import perf_counter

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skl_softmax import SoftmaxSGDClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
ALPHA = 1e-4


def report(name: str, model: ClassifierMixin, seconds: float) -> None:
    """Print one line of quality on the test rows."""
    loss = log_loss(y_test, model.predict_proba(X_test))
    print(f"{name:38}{model.score(X_test, y_test):9.3f}{loss:10.3f}{seconds:9.2f} s")


print(f"{'':38}{'accuracy':>9}{'log-loss':>10}{'time':>9}")

# 1. A Pipeline, beside the two linear classifiers of scikit-learn with the same penalty.
classifiers = {
    "SoftmaxSGDClassifier": SoftmaxSGDClassifier(alpha=ALPHA, random_state=0),
    "LogisticRegression": LogisticRegression(C=1 / (ALPHA * len(X_train)), max_iter=1000),
    "SGDClassifier (one against the rest)": SGDClassifier(
        loss="log_loss", alpha=ALPHA, random_state=0
    ),
}
for name, classifier in classifiers.items():
    model = make_pipeline(MinMaxScaler(), classifier)
    start = perf_counter()
    model.fit(X_train, y_train)
    report(name, model, perf_counter() - start)

# 2. A grid search over the penalty and its strength.
search = GridSearchCV(
    make_pipeline(MinMaxScaler(), SoftmaxSGDClassifier(random_state=0)),
    {
        "softmaxsgdclassifier__alpha": [1e-4, 1e-3, 1e-2],
        "softmaxsgdclassifier__penalty": ["l2", "elasticnet"],
    },
    scoring="neg_log_loss",
    cv=3,
)
start = perf_counter()
search.fit(X_train, y_train)
report("GridSearchCV, best of 6", search.best_estimator_, perf_counter() - start)
print("  chosen:", {key.split("__")[1]: value for key, value in search.best_params_.items()})

# 3. The same rows as a stream: unscaled chunks that are seen once, with the classes named first.
stream = SoftmaxSGDClassifier(random_state=0)
start = perf_counter()
for chunk in np.array_split(np.arange(len(X_train)), 20):
    stream.partial_fit(X_train[chunk], y_train[chunk], classes=np.arange(10))
report("partial_fit, one pass in 20 chunks", stream, perf_counter() - start)
