"""Answers what a grid search over alpha costs beside LogisticRegression's.

    python benchmarks/bench_grid_search.py --quick

GridSearchCV over ten alphas, cv=3, no warm starts, on the first 10000 rows of fashion_mnist (C is
1 / (alpha n) with n the rows of a training fold, so both search the same models), scored by the
log-loss. Every estimator has its defaults otherwise; they take turns in every repetition.
best_score: minus the mean log-loss of the best alpha. x_ours: seconds over ours.
"""

import warnings
from os import cpu_count
from pathlib import Path

import numpy as np
from _harness import Report, arguments, clock, ratio
from datasets import load
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

FOLDS = 3
ALPHAS = np.logspace(-6, -2, 10)
OURS, THEIRS = "SoftmaxSGDClassifier", "LogisticRegression"
EQUAL = 0.01  # best scores (log-loss) within 1% count as equal


def searches(n_rows, alphas):
    """Name -> unfitted search."""
    n = n_rows * (FOLDS - 1) / FOLDS
    grids = {
        OURS: (SoftmaxSGDClassifier(random_state=0), {"alpha": alphas}),
        THEIRS: (LogisticRegression(), {"C": 1 / (alphas * n)}),
    }
    return {
        name: GridSearchCV(model, grid, cv=FOLDS, scoring="neg_log_loss")
        for name, (model, grid) in grids.items()
    }


def main():
    """Both searches in turns, then the checks."""
    options = arguments(
        __doc__,
        threads={"type": int, "default": min(2, cpu_count()), "help": "of BLAS (default: 2)"},
    )
    report = Report(Path(__file__), options)
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = load("fashion_mnist")
    n_rows = 600 if options.quick else 10000
    X, y = data.X[:n_rows], data.y[:n_rows]
    found = searches(n_rows, ALPHAS[::3] if options.quick else ALPHAS)
    seconds = {name: [] for name in found}
    with threadpool_limits(options.threads):
        for search in found.values():
            search.estimator.fit(X[:200], y[:200])  # warm-up
        for _ in range(options.repeat or 1):
            for name, search in found.items():
                seconds[name].append(clock(search.fit, X, y))
    took = {name: np.array(samples) for name, samples in seconds.items()}
    rows = [
        {
            "search": name,
            "seconds": float(np.median(took[name])),
            "x_ours": ratio(took[name], took[OURS]),
            "best_score": search.best_score_,
            "best_alpha": float(found[OURS].param_grid["alpha"][search.best_index_]),
            "test_log_loss": -search.score(data.X_test, data.y_test),
        }
        for name, search in found.items()
    ]
    title = f"{len(found[OURS].param_grid['alpha'])} alphas, {n_rows} rows of fashion_mnist"
    report.table(f"{title}, {options.threads} BLAS thread(s)", rows)
    report.check("LogisticRegression / ours: seconds", ratio(took[THEIRS], took[OURS]), at_least=4)
    scores = -found[OURS].best_score_ / -found[THEIRS].best_score_
    report.check("ours / LogisticRegression: log-loss", scores, at_most=1 + EQUAL)
    report.close()


if __name__ == "__main__":
    main()
