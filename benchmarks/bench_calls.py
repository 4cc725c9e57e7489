"""Answers what a call costs that carries little data: a small chunk learnt, one row predicted.

`partial_fit` on chunks of 32 x 64, dense and CSR, 10 classes and 2, beside SGDClassifier;
`predict_proba` on one row of 64 features beside LogisticRegression and SGDClassifier. Medians over
a few thousand calls that take turns, with every estimator's defaults.

    python benchmarks/bench_calls.py --quick

log_loss: that of 10000 other rows, after all the calls.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from _harness import Report, arguments, in_ms, ratio, time_calls
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

ROWS, FEATURES, CHUNKS = 32, 64, 200
THREADS = 1  # more gain nothing on so few numbers
OURS = "SoftmaxSGDClassifier"


def random_rows(n_rows, n_classes, sparse):
    """Float64 rows and labels drawn from a softmax model; one entry in eight if sparse."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, FEATURES))
    scores = X @ rng.standard_normal((FEATURES, n_classes)) / 4
    if sparse:
        X *= rng.random(X.shape) < 1 / 8
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return (sp.csr_array(X) if sparse else X), y


def contenders():
    """Fresh models with a `partial_fit`."""
    models = SoftmaxSGDClassifier(random_state=0), SGDClassifier(loss="log_loss", random_state=0)
    return {type(model).__name__: model for model in models}


def partial_fit_calls(n_classes, sparse, calls):
    """Seconds of each call, and the log-loss of every model at the end."""
    X, y = random_rows(CHUNKS * ROWS + 10000, n_classes, sparse)
    cuts = range(0, CHUNKS * ROWS, ROWS)
    chunks = [(X[start : start + ROWS], y[start : start + ROWS]) for start in cuts]
    models = contenders()
    for model in models.values():
        model.partial_fit(*chunks[0], classes=np.arange(n_classes))
    learn = {
        name: lambda call, model=model: model.partial_fit(*chunks[call % CHUNKS])
        for name, model in models.items()
    }
    seconds = time_calls(learn, calls)
    unseen = slice(CHUNKS * ROWS, None)
    return seconds, {n: log_loss(y[unseen], m.predict_proba(X[unseen])) for n, m in models.items()}


def predict_proba_calls(n_classes, sparse, calls):
    """Seconds of each call."""
    X, y = random_rows(2000, n_classes, sparse)
    models = contenders() | {"LogisticRegression": LogisticRegression(max_iter=1000)}
    for model in models.values():
        model.fit(X, y)
    rows = [X[i : i + 1] for i in range(CHUNKS)]
    predict = {
        name: lambda call, model=model: model.predict_proba(rows[call % CHUNKS])
        for name, model in models.items()
    }
    return time_calls(predict, calls)


def main():
    """Every case, then the checks: no slower than the rivals."""
    options = arguments(__doc__)
    report = Report(Path(__file__), options)
    calls = options.repeat or (200 if options.quick else 4000)
    print(f"{calls} calls each, {THREADS} BLAS thread(s)")
    cases = [("dense", 10), ("dense", 2), ("CSR", 10), ("CSR", 2)]
    learning, predicting = [], []
    with threadpool_limits(THREADS):
        for container, n_classes in cases:
            case = f"{container}, K = {n_classes}"
            seconds, quality = partial_fit_calls(n_classes, container == "CSR", calls)
            learning += rows_of(case, seconds, {"SGDClassifier": "SGD"}, quality)
            measured = ratio(seconds[OURS], seconds["SGDClassifier"])
            report.check(f"partial_fit, {case} / SGDClassifier", measured, at_most=1)
            seconds = predict_proba_calls(n_classes, container == "CSR", calls)
            short = {"LogisticRegression": "LR", "SGDClassifier": "SGD"}
            predicting += rows_of(case, seconds, short)
            for rival in short:
                measured = ratio(seconds[OURS], seconds[rival])
                report.check(f"predict_proba, {case} / {rival}", measured, at_most=1)
    report.table(f"partial_fit on {ROWS} x {FEATURES}", learning)
    report.table(f"predict_proba on 1 x {FEATURES}", predicting)
    report.close()


def rows_of(case, seconds, rivals, quality=None):
    """Rows of a table, one a model."""
    return [
        {"case": case, "model": name, **in_ms(taken, "call")}
        | {f"x_{short}": ratio(taken, seconds[rival]) for rival, short in rivals.items()}
        | ({"log_loss": quality[name]} if quality else {})
        for name, taken in seconds.items()
    ]


if __name__ == "__main__":
    main()
