"""Answers how good the alpha is that `fit` chooses, and what choosing it costs.

    python benchmarks/bench_alpha.py --quick
    python benchmarks/bench_alpha.py --data letter iris --sizes 1000 all

Each case is a set (raw, or standardised on its training rows), a number of training rows and some
splits into training and test rows: at random, in time for streams, or a set's own. For every model
the table has the mean log-loss of the test rows over the splits, as a ratio

    (loss + .02) / (loss of the best alpha in hindsight + .02)

so that a handful of rows decides nothing, the accuracy, and the seconds of all splits over those
of one fit of ours at the alpha that was chosen. The best alpha is that of the least mean loss on a
grid of factor sqrt(10), widened until the loss rises twice at both ends.

ours          SoftmaxSGDClassifier()
1e-5, C = 1   the same with alpha=1e-5 and 1 / n
LR            LogisticRegression(), as it comes
LRCV          LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss"); none beyond --cap seconds
SGD, MLP      SGDClassifier(loss="log_loss"), MLPClassifier(hidden_layer_sizes=())

With --penalty l1 or elasticnet, models of ours alone: the others would have another penalty.
"""

import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from _harness import HERE, Report, arguments, interrupted_after
from datasets import BUNDLED, load
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

SLACK = 0.02  # nats
STREAMS = "kdd99_10pct", "elec2_stream"
SETS = (*BUNDLED, "letter", "fashion_mnist", "clinc150", "20newsgroups", *STREAMS)
TEXT = "clinc150", "20newsgroups"
PENALTIES = "l2", "l1", "elasticnet"
SIZES = "200", "1000", "5000", "all"
LARGE = 1500  # rows from which on the targets are those of large data
MOST_TESTED = 10000  # rows
LONGEST = 40000  # training rows of a case in which all alphas of a grid are fitted
OURS, DEFAULT, UNIT = "ours", "1e-5", "C = 1"
DRIFTING = "time", "own"  # splits whose test rows may be of another kind


@dataclass
class Case:
    """Training and test rows, several times."""

    name: str
    scaling: str
    split: str
    parts: list

    @property
    def n(self):
        """Training rows."""
        return len(self.parts[0][1])

    @property
    def title(self):
        """In words."""
        return f"{self.name}, {self.scaling}, {self.split} split, {self.n} rows"


def cases_of(name, sizes, quick):
    """Every case of a set."""
    data = load(name)
    splits = ("time", "random") if name in STREAMS else ("random",) if name in BUNDLED else ("own",)
    for split in splits:
        n_all = len(data.y) if split == "own" else int(0.7 * whole(data)[1].size)
        met = set()
        for size in sizes:
            n = min(n_all, LONGEST if size == "all" else int(size))
            if n in met:
                continue
            met.add(n)
            n_splits = 2 if quick else 10 if n < LARGE else 3 if n < 10000 else 1
            parts = [part(data, split, n, seed) for seed in range(n_splits)]
            for scaling in ("raw",) if name in TEXT else ("raw", "standardised"):
                scaled = parts if scaling == "raw" else [standardised(*rows) for rows in parts]
                yield Case(name, scaling, split, scaled)


def whole(data):
    """All rows of a set without a split of its own."""
    if data.X_test is None:
        return data.X, data.y
    return np.vstack([data.X, data.X_test]), np.append(data.y, data.y_test)


def part(data, split, n, seed):
    """Some training rows, and test rows of classes that are among them."""
    rng = np.random.default_rng(seed)
    if split == "own":
        X, y, X_test, y_test = data.X, data.y, data.X_test, data.y_test
    else:
        X, y = whole(data)
        order = np.arange(len(y)) if split == "time" else rng.permutation(len(y))
        cut = int(0.7 * len(y))
        X, y, X_test, y_test = X[order[:cut]], y[order[:cut]], X[order[cut:]], y[order[cut:]]
    if n < len(y):
        few = np.bincount(y)[np.unique(y)].min() < 2
        rows, _ = train_test_split(
            np.arange(len(y)), train_size=n, random_state=seed,
            stratify=None if few or n < len(np.unique(y)) else y,
        )  # fmt: skip
        X, y = X[rows], y[rows]
    known = np.flatnonzero(np.isin(y_test, y))
    known = np.sort(rng.permutation(known)[:MOST_TESTED])
    return X, y, X_test[known], y_test[known]


def standardised(X, y, X_test, y_test):
    """Columns in deviations of the training rows."""
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), y, scaler.transform(X_test), y_test


def tested(model, X_test, y_test):
    """Mean log-loss, of probabilities that are no less than 1e-15, and accuracy."""
    proba = np.maximum(model.predict_proba(X_test), 1e-15)
    at = np.searchsorted(model.classes_, y_test)
    losses = -np.log(proba[np.arange(len(at)), at])
    return float(losses.mean()), float(np.mean(proba.argmax(axis=1) == at))


def series(case, make, cap=np.inf):
    """Mean loss and accuracy over the splits, seconds of all fits, and the models.

    None where a fit is beyond the cap, or impossible: LRCV wants five rows of every class. ``make``
    takes the number of a split and its rows.
    """
    losses, seconds, models = [], 0.0, []
    for k, (X, y, X_test, y_test) in enumerate(case.parts):
        model = make(k, len(y))
        start = time.perf_counter()
        try:
            with interrupted_after(min(cap, 1e6)):
                model.fit(X, y)
        except (TimeoutError, ValueError):
            return None
        seconds += time.perf_counter() - start
        losses.append(tested(model, X_test, y_test))
        models.append(model)
    loss, accuracy = np.mean(losses, axis=0)
    return loss, accuracy, seconds, models


def best_alpha(case, alphas, penalty):
    """The least mean loss of a grid, and its alpha."""
    losses = {}

    def value(step):
        if step not in losses:
            make = partial(ours, alpha=10 ** (step / 2), penalty=penalty)
            losses[step] = series(case, make)[0]
        return losses[step]

    centre = round(2 * float(np.median(np.log10(alphas))))
    for step in range(centre - 2, centre + 3):
        value(step)
    while min(losses, key=losses.get) - min(losses) < 2 and min(losses) > -26:
        value(min(losses) - 1)
    while max(losses) - min(losses, key=losses.get) < 2 and max(losses) < 16:
        value(max(losses) + 1)
    step = min(losses, key=losses.get)
    return losses[step], 10 ** (step / 2)


def ours(split, n, **params):
    """Ours, for a split."""
    return SoftmaxSGDClassifier(**({"random_state": 0} | params))


def rivals(seed):
    """Name -> what makes a model of others as it comes."""
    return {
        "LR": lambda split, n: LogisticRegression(),
        "LRCV": lambda split, n: LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss"),
        "SGD": lambda split, n: SGDClassifier(loss="log_loss", random_state=seed),
        "MLP": lambda split, n: MLPClassifier((), random_state=seed),
    }


def measure(report, case, cap, penalty):
    """The table of a case, and its row of the table of all."""
    make = partial(ours, penalty=penalty)
    found = {OURS: series(case, make)}
    models = found[OURS][3]
    chosen = [model.alpha_ for model in models]
    one = series(case, lambda split, n: make(split, n, alpha=chosen[split]))
    found[DEFAULT] = series(case, partial(make, alpha=1e-5))
    found[UNIT] = series(case, lambda split, n: make(split, n, alpha=1 / n))
    if penalty == "l2":
        for name, rival in rivals(0).items():
            found[name] = series(case, rival, cap)
    least, best = best_alpha(case, chosen, penalty)
    rows = [
        {
            "model": name,
            "loss": result[0],
            "ratio": (result[0] + SLACK) / (least + SLACK),
            "accuracy": result[1],
            "x_one_fit": result[2] / one[2],
        }
        for name, result in found.items()
        if result is not None
    ]
    report.table(f"{case.title}, {penalty}", rows)
    report.save()
    row = {
        "case": case.title,
        "n": case.n,
        "splits": len(case.parts),
        "alpha": float(np.exp(np.mean(np.log(chosen)))),
        "best": best,
        "tried": float(np.mean([len(model.alphas_) for model in models])),
        "one_fit_ms": 1e3 * one[2] / len(case.parts),
    }
    return (
        row
        | {f"{r['model']}": r["ratio"] for r in rows}
        | {f"x_{r['model']}": r["x_one_fit"] for r in rows}
    )


def draw(cases):
    """Held-out losses of what was tried, and test losses about the alpha chosen, into results/."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(cases), 4), layout="constrained")
    for case, axes in zip(cases, np.atleast_1d(figure.subplots(1, len(cases))), strict=True):
        X, y, X_test, y_test = case.parts[0]
        model = ours(0, len(y)).fit(X, y)
        around = model.alpha_ * 10.0 ** np.arange(-3, 3.5, 0.5)
        losses = [tested(ours(0, len(y), alpha=a).fit(X, y), X_test, y_test)[0] for a in around]
        axes.plot(around, losses, color="0.6", label="test rows, each alpha fitted")
        axes.plot(model.alphas_, model.alpha_losses_, "o", label="held-out rows, as it searches")
        axes.axvline(model.alpha_, linestyle=":", color="C1", label="chosen")
        axes.set(xscale="log", xlabel="alpha", ylabel="mean log-loss", title=case.title)
        axes.legend()
    figure.savefig(HERE / "results" / "alpha.png")


def geometric(values):
    """Mean of ratios."""
    return float(np.exp(np.mean(np.log(values))))


def check(report, rows, penalty):
    """What all cases say together."""
    if penalty != "l2":
        ratio = geometric([row[OURS] for row in rows])
        report.check(f"ours / best alpha, {penalty}, geometric mean", ratio, at_most=1.1)
        return
    large = [row for row in rows if row["n"] >= LARGE]
    small = [row for row in rows if row["n"] < LARGE]
    for name, group, mean, worst in (
        ("n >= 1500", large, 1.03, 1.15),
        ("n < 1500", small, 1.05, 1.5),
    ):
        if not group:
            continue
        ratios = [row[OURS] for row in group]
        report.check(f"ours / best alpha, {name}, geometric mean", geometric(ratios), at_most=mean)
        of_a_kind = [
            row[OURS] for row in group if row["case"].split(", ")[2].split()[0] not in DRIFTING
        ]
        if of_a_kind:
            report.check(f"ours / best alpha, {name}, worst", max(of_a_kind), at_most=worst)
        for rival in (DEFAULT, UNIT):
            gain = geometric([row[rival] / row[OURS] for row in group])
            report.check(f"{rival} / ours, {name}, geometric mean", gain, at_least=1)
    if large:
        cost = geometric([row["x_ours"] for row in large])
        report.check("seconds over one fit, n >= 1500, geometric mean", cost, at_most=3)
    tables = [row["x_ours"] for row in small if row["case"].split(",")[0] in BUNDLED[:3]]
    if tables:
        report.check(
            "seconds over one fit, iris, wine, breast_cancer, worst", max(tables), at_most=5
        )
    for rival, factor in (("LR", 1), ("LRCV", 10)):
        values = [row[f"x_{rival}"] / row["x_ours"] for row in large if f"x_{rival}" in row]
        if values:
            claim = f"{rival} / ours, seconds, n >= 1500, geometric mean"
            report.check(claim, geometric(values), at_least=factor)


def main():
    """Every case, then what they say together."""
    options = arguments(
        __doc__,
        data={"nargs": "+", "choices": SETS, "help": "which sets (default: all)"},
        penalty={"choices": PENALTIES, "default": "l2", "help": "of all models (default: l2)"},
        sizes={"nargs": "+", "choices": SIZES, "help": "training rows (default: all of these)"},
        cap={"type": float, "default": 60.0, "help": "seconds of one fit of a rival (default: 60)"},
        threads={"type": int, "default": 1, "help": "of BLAS (default: 1)"},
        plot={"action": "store_true", "help": "draw results/alpha.png, of the first split of each"},
    )
    report = Report(Path(__file__), options)
    warnings.simplefilter("ignore")
    names = options.data or (("iris", "letter") if options.quick else SETS)
    sizes = options.sizes or (("200",) if options.quick else SIZES)
    rows, all_cases = [], []
    with threadpool_limits(options.threads):
        for name in names:
            for case in cases_of(name, sizes, options.quick):
                if not rows:
                    series(case, ours)  # warm-up
                rows.append(measure(report, case, options.cap, options.penalty))
                all_cases.append(case)
    keys = ["case", "splits", "alpha", "best", "tried", "one_fit_ms", OURS, DEFAULT, UNIT, "x_ours"]
    report.table("All cases: ratios to the best alpha", [{k: row[k] for k in keys} for row in rows])
    check(report, rows, options.penalty)
    if options.plot:
        draw(all_cases)
    report.close()


if __name__ == "__main__":
    main()
