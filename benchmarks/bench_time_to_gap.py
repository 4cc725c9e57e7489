"""Answers how soon each solver reaches the optimum, on data as they come and standardised.

    python benchmarks/bench_time_to_gap.py --data letter iris --alphas 1e-4 --cap 10
    python benchmarks/bench_time_to_gap.py --penalty l1
    python benchmarks/bench_time_to_gap.py --quick

All minimise F = mean cross-entropy + alpha / 2 |W|^2 on the same float32 rows; alpha = 1/n is
C = 1. The gap is (F - F*) / F*, with F in float64 at the parameters that a fit ends with and F*
from `_optima.py`. Standardising is not timed. With ``--penalty l1`` the last term is alpha |W|_1,
and alphas are shares of the one that empties the model; rivals are LogisticRegression's saga, for
two classes its liblinear (whose intercept, scaled by 100, is hardly penalised), and cyanure.

Series: every contender fits anew with max_iter = 1, 2, 3, 5, 8, 13, ... and no stopping rule of
its own (ours: tol=None; LogisticRegression: tol=1e-12), the contenders taking turns, until the gap
is 1e-4. It ends sooner where a fit takes longer than the cap (it is interrupted at twice the cap),
or 30 times as long as the first contender took to 1e-4, or stops before max_iter without a smaller
gap than the fit before. A fit below 0.2 s is repeated and the median taken. The time to a gap lies
on the line, in log gap against seconds, between the first fit that reached it and the one before;
for all contenders alike.

Ratios (columns with x) are the rival's time over ours: above 1 we are sooner. "-" is a gap that
was not reached. A rival that did not reach it counts as its longest fit, or as the cap if it had
stopped by itself; ours as twice that; if neither reached it there is no ratio. "best" is the
quickest of LogisticRegression's solvers.

As it comes: one fit each with the defaults, at equal regularisation (MLPClassifier divides its
alpha by the rows of a batch, 200). objective: F, reading every model's coefficients as those of a
softmax. log_loss: of the test rows, from predict_proba. warned: a ConvergenceWarning. A fit that
was interrupted counts as twice the cap in the checks, ours as four times.
"""

import math
import time
import warnings
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from _harness import HERE, Report, arguments, interrupted_after
from _optima import Optimum, objective, optimum
from datasets import BUNDLED, EMBEDDINGS, FETCHERS, FEW_MATTER, GENERATED, NAMES, Data, load
from rivals import Cyanure, CyanureClassifier
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

try:
    from sklearnex.linear_model import LogisticRegression as IntelLogisticRegression
except ImportError:  # left out, which the facts of a report say
    IntelLogisticRegression = None

SHARED = tuple(FETCHERS)
GAPS = (1e-1, 1e-2, 1e-3, 1e-4)
OURS, LBFGS = "ours", "lbfgs"
LOST = 30  # times the quickest: such a contender is no longer waited for
SHORT = 0.2  # seconds; a shorter fit is repeated
CHOLESKY = 1e12  # n (d K)^2, about the multiplications of one newton-cholesky step: 30 s and more
MLP_BATCH = 200
TOL = SoftmaxSGDClassifier().tol
SHARES = ("0.1", "0.01", "0.001")  # of the l1 that empties the model
SPARSE = (*FEW_MATTER, "digits", "breast_cancer", "letter", "clinc150", "20newsgroups")
SGD_MODEL, MLP_MODEL = "SGDClassifier", "MLPClassifier(())"


@dataclass(frozen=True)
class Case:
    """One objective."""

    set_name: str
    scaling: str
    alpha_name: str
    alpha: float
    data: Data
    optimum: Optimum
    penalty: str = "l2"

    @property
    def name(self):
        """For titles."""
        return f"{self.set_name}, {self.scaling}, alpha {self.alpha_name}"

    def gap(self, model):
        """Relative gap of a fitted model to the optimum."""
        return self.objective(model) / self.optimum.objective - 1

    def objective(self, model):
        """F at the coefficients of a fitted model."""
        found = (
            (model.coefs_[0].T, model.intercepts_[0])
            if isinstance(model, MLPClassifier)
            else (model.coef_, model.intercept_)
        )
        value = objective(self.data.X, self.data.y, *found, self.alpha, self.penalty)
        return float(np.nan_to_num(value, nan=np.inf))

    def log_loss(self, model):
        """Of the test rows, or None; probabilities below eps count as eps, as in scikit-learn."""
        if self.data.X_test is None:
            return None
        y = self.data.y_test
        proba = model.predict_proba(self.data.X_test)[np.arange(len(y)), y]
        return float(-np.log(np.maximum(proba.astype(float), np.finfo(float).eps)).mean())


@dataclass
class Series:
    """The fits of one contender with growing max_iter."""

    model: object
    cap: float
    iterations: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    counts_as: float = 0.0  # seconds that a gap out of reach counts as

    def fit(self, case, max_iter, repeat):
        """One more point; False if it is the last one."""
        self.model.set_params(max_iter=max_iter)
        seconds = timed_fit(self.model, case, 2 * self.cap, repeat)
        if seconds is None:
            self.counts_as = max(2 * self.cap, self.counts_as)
            return False
        self.iterations.append(max_iter)
        self.seconds.append(seconds)
        self.gaps.append(case.gap(self.model))
        gained_nothing = len(self.gaps) > 1 and self.gaps[-1] >= self.gaps[-2]
        stopped = np.max(self.model.n_iter_) < max_iter and gained_nothing
        self.counts_as = max(self.cap if stopped else seconds, self.counts_as)
        return not stopped and self.gaps[-1] > GAPS[-1] and seconds < self.cap

    def time_to(self, gap):
        """Seconds to the gap, or None."""
        before = None
        for point in zip(self.seconds, self.gaps, strict=True):
            if point[1] <= gap:
                return point[0] if before is None else between(before, point, gap)
            before = point
        return None

    def charged(self, gap):
        """Seconds to the gap, or twice what it counts as."""
        return self.time_to(gap) or 2 * self.counts_as


def between(before, after, gap):
    """Seconds at which the line from one (seconds, gap) to the next, in log gap, meets the gap."""
    (t0, gap0), (t1, gap1) = before, after
    if not np.isfinite(gap0) or t1 <= t0:
        return t1
    share = math.log(gap0 / gap) / math.log(gap0 / max(gap1, GAPS[-1] / 100))
    return t0 + min(share, 1.0) * (t1 - t0)


def timed_fit(model, case, limit, repeat=1):
    """Median seconds of a fit (of one, if it is not short); None if interrupted or failed."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        try:
            with interrupted_after(limit):
                model.fit(case.data.X, case.data.y)
        except TimeoutError:
            return None
        except ValueError as error:  # scikit-learn's voice for an overflow
            print(f"{type(model).__name__} failed: {error}")
            return None
        seconds.append(time.perf_counter() - start)
        if seconds[0] > SHORT:
            break
    return float(np.median(seconds))


def contenders(case):
    """Name -> model whose max_iter grows."""
    n, d = case.data.X.shape
    n_classes = int(case.data.y.max()) + 1
    if case.penalty == "l1":
        return sparse_contenders(case, n, n_classes)
    solvers = [LBFGS, "newton-cg", "newton-cholesky", "saga"]
    if n * (d * n_classes) ** 2 > CHOLESKY:
        solvers.remove("newton-cholesky")
    theirs = LogisticRegression(C=1 / (case.alpha * n), tol=1e-12, random_state=0)
    ours = SoftmaxSGDClassifier(alpha=case.alpha, tol=None, random_state=0)
    return {OURS: ours} | {name: clone(theirs).set_params(solver=name) for name in solvers}


def sparse_contenders(case, n, n_classes):
    """The same with l1."""
    theirs = LogisticRegression(C=1 / (case.alpha * n), l1_ratio=1, tol=1e-12, random_state=0)
    found = {OURS: SoftmaxSGDClassifier(**sparse(case), tol=None)}
    found["saga"] = clone(theirs).set_params(solver="saga")
    if n_classes == 2:
        found["liblinear"] = theirs.set_params(solver="liblinear", intercept_scaling=100)
    if CyanureClassifier:
        found["cyanure"] = Cyanure(case.alpha, n_classes)
    return found


def sparse(case):
    """Parameters of ours with l1."""
    return {"penalty": "l1", "alpha": case.alpha, "random_state": 0}


def as_they_come(case):
    """Name -> model with its defaults at this regularisation."""
    if case.penalty == "l1":
        return {OURS: SoftmaxSGDClassifier(**sparse(case))}
    n = len(case.data.y)
    C = 1 / (case.alpha * n)
    models = {
        OURS: SoftmaxSGDClassifier(alpha=case.alpha, random_state=0),
        "LogisticRegression": LogisticRegression(C=C),
        SGD_MODEL: SGDClassifier(loss="log_loss", alpha=case.alpha, random_state=0),
        MLP_MODEL: MLPClassifier((), alpha=case.alpha * min(MLP_BATCH, n), random_state=0),
    }
    if IntelLogisticRegression:
        models["intelex"] = IntelLogisticRegression(C=C)
    return models


def run_series(case, cap, repeat):
    """All contenders in turns: name -> Series."""
    found = {name: Series(model, cap) for name, model in contenders(case).items()}
    active = dict(found)
    quickest = math.inf
    for max_iter in fibonacci():
        for name, series in list(active.items()):
            goes_on = series.fit(case, max_iter, repeat)
            quickest = min(quickest, series.time_to(GAPS[-1]) or math.inf)
            if not goes_on or series.seconds[-1] > max(LOST * quickest, 5 * SHORT):
                del active[name]
        if not active:
            return found
    return found


def fibonacci():
    """1, 2, 3, 5, 8, 13, ..."""
    a, b = 1, 2
    while True:
        yield a
        a, b = b, a + b


def run_as_they_come(case, cap, repeat):
    """Rows of a table."""
    rows = []
    for name, model in as_they_come(case).items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seconds = timed_fit(model, case, 2 * cap, repeat)
        row = {"model": name, "seconds": seconds, "objective": None, "gap": None}
        row |= {"log_loss": None, "warned": None}
        if seconds is not None:
            row |= {"objective": case.objective(model), "gap": case.gap(model)}
            row["log_loss"] = case.log_loss(model)
            row["warned"] = str(any(issubclass(w.category, ConvergenceWarning) for w in caught))
        rows.append(row)
    return rows


def ratios(found):
    """Ratio of the best of the rivals, and of lbfgs, to ours at every gap."""
    ours, theirs = found[OURS], {name: s for name, s in found.items() if name != OURS}
    row = {}
    alone = {name: series for name, series in theirs.items() if name == LBFGS}
    for head, rivals in (("best", theirs), (LBFGS, alone))[: 1 + len(alone)]:
        for gap in GAPS:
            own = ours.time_to(gap)
            reached = [t for s in rivals.values() if (t := s.time_to(gap)) is not None]
            best = min(reached) if reached else min(s.counts_as for s in rivals.values())
            known = own is not None or reached
            row[f"x_{head}_{gap:.0e}"] = best / ours.charged(gap) if known else None
    return row


def compared(found, rival, key, cap):
    """What a rival's single fit has over ours: above 1 ours is better. None if not comparable."""
    ours, theirs = found[OURS], found[rival]
    if key == "seconds":  # a fit that was interrupted took twice the cap; ours counts as 4 times
        return (theirs[key] or 2 * cap) / (ours[key] or 4 * cap)
    if ours["seconds"] is None:
        return 0.0
    return None if theirs[key] is None else theirs[key] / ours[key]


def geometric_mean(values):
    """Of those that are known, or None."""
    known = [value for value in values if value is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def cases_of(name, alphas, quick, penalty):
    """Every case of a data set."""
    data = load(name)
    if quick:
        rows = np.random.default_rng(0).permutation(len(data.y))[:1500]
        labels, y = np.unique(data.y[rows], return_inverse=True)
        test = slice(0) if data.y_test is None else np.isin(data.y_test, labels)
        data = Data(
            data.X[rows],
            y,
            None if data.X_test is None else data.X_test[test],
            None if data.X_test is None else np.searchsorted(labels, data.y_test[test]),
        )
    if penalty == "l1":
        largest = emptying(data)
        for share in alphas or SHARES:
            alpha = float(share) * largest
            reference = optimum(f"{name}-raw", data.X, data.y, alpha, penalty)
            yield Case(name, "raw", f"{share} of the largest", alpha, data, reference, penalty)
        return
    sparse = sp.issparse(data.X)
    alphas = alphas or ["1/n", "1e-4", "1e-5"] + (["1e-6"] if sparse else [])
    for scaling in ("raw",) if sparse else ("raw", "standardised"):
        rows = data if scaling == "raw" else standardised(data)
        for text in alphas:
            alpha = 1 / len(data.y) if text == "1/n" else float(text)
            reference = optimum(f"{name}-{scaling}", rows.X, rows.y, alpha)
            yield Case(name, scaling, text, alpha, rows, reference)


def emptying(data):
    """The least alpha with which l1 leaves no weight."""
    Y = np.eye(int(data.y.max()) + 1)[data.y]
    return float(np.abs(data.X.T @ (Y - Y.mean(axis=0))).max() / len(Y))


def standardised(data):
    """The same in float32, by a StandardScaler in float64 fitted on the training rows."""
    scaler = StandardScaler().fit(data.X.astype(float))
    X, X_test = (
        None if rows is None else scaler.transform(rows.astype(float)).astype(np.float32)
        for rows in (data.X, data.X_test)
    )
    return Data(X, data.y, X_test, data.y_test)


def measure(report, case, cap, repeat):
    """Both tables of one case; the series and the rows of the second."""
    found = run_series(case, cap, repeat)
    rows = [
        {"solver": name}
        | {f"{gap:.0e}": series.time_to(gap) for gap in GAPS}
        | {"fits": len(series.gaps), "last_s": last(series.seconds), "last_gap": last(series.gaps)}
        for name, series in found.items()
    ]
    report.table(f"{case.name}: seconds to a gap", rows)
    points = {n: list(zip(s.iterations, s.seconds, s.gaps, strict=True)) for n, s in found.items()}
    report.tables[f"{case.name}: max_iter, seconds, gap of every fit"] = points
    single = run_as_they_come(case, cap, repeat)
    report.table(f"{case.name}: as it comes", single)
    return found, single


def last(values):
    """The last one or None."""
    return values[-1] if values else None


def draw(name, cases, all_series):
    """Gap against time, a panel a case, into results/."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(sum(case.scaling == "raw" for case in cases), 1)
    n_rows = math.ceil(len(cases) / columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * n_rows), dpi=60, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
    for panel, case, found in zip(panels.flat, cases, all_series, strict=False):
        for solver, series in found.items():
            gaps = np.maximum(series.gaps, GAPS[-1] / 10)
            style = {"linewidth": 2.5, "color": "black"} if solver == OURS else {"linewidth": 1.2}
            panel.loglog(series.seconds, gaps, ".-", label=solver, **style)
        panel.set_ylim(GAPS[-1] / 10, 30)
        panel.set_title(f"{case.scaling}, alpha {case.alpha_name}", fontsize=9)
        panel.grid(alpha=0.3)
        panel.xaxis.set_minor_formatter("")
    panels[0, 0].legend(fontsize=7)
    figure.suptitle(f"{name}: relative gap to the optimum against seconds", fontsize=10)
    figure.savefig(HERE / "results" / f"time_to_gap_{name}.png")


def tables_of_ratios(report, cases, all_series):
    """Print the ratios of every case, then their geometric means; the former are returned."""
    rows = [{"case": c.name} | ratios(f) for c, f in zip(cases, all_series, strict=True)]
    report.table("Ratios: their time over ours", rows)
    groups = {"all": NAMES, "bundled": BUNDLED, "shared": SHARED}
    groups |= {"embeddings": tuple(EMBEDDINGS), "generated": tuple(GENERATED)}
    groups |= {"few matter": tuple(FEW_MATTER)}
    groups |= {name: (name,) for name in NAMES}
    means = []
    for group, members in groups.items():
        chosen = [row for row, c in zip(rows, cases, strict=True) if c.set_name in members]
        if chosen:
            heads = [head for head in rows[0] if head != "case"]
            mean = {head: geometric_mean(row[head] for row in chosen) for head in heads}
            means.append({"geometric_mean": group} | mean)
    report.table("Ratios: geometric means", means)
    return rows


def check_worst(report, claim, values, **target):
    """Hold the worst of the values that are known against the target."""
    known = [value for value in values if value is not None]
    if known:
        report.check(claim, max(known) if "at_most" in target else min(known), **target)


def check_series(report, cases, all_series, rows):
    """The targets for times to a gap."""

    def columns(rival, gap, where):
        head = f"x_{rival}_{gap:.0e}"
        return [row[head] for row, case in zip(rows, cases, strict=True) if where(case)]

    def shared(case):
        return case.set_name in SHARED

    claim = "best solver / ours at 1e-2, {}".format
    values = columns("best", 1e-2, shared)
    check_worst(report, claim("every shared case"), values, at_least=1)
    values = columns("best", 1e-2, lambda case: case.set_name == "fashion_mnist")
    check_worst(report, claim("every fashion_mnist case"), values, at_least=6)
    values = columns("best", 1e-2, lambda c: sp.issparse(c.data.X) and c.alpha_name == "1e-6")
    check_worst(report, claim("every text at alpha 1e-6"), values, at_least=8)
    few = (*EMBEDDINGS, *GENERATED)
    values = columns(LBFGS, 1e-2, lambda case: case.set_name in few)
    values += columns(LBFGS, 1e-3, lambda case: case.set_name in few)
    claim = "lbfgs / ours at 1e-2 and 1e-3, every embedding and generated case"
    check_worst(report, claim, values, at_least=1)
    for rival, gap, target in ("best", 1e-2, 4), ("best", 1e-3, 4), (LBFGS, 1e-2, 8):
        mean = geometric_mean(columns(rival, gap, shared))
        claim = f"{rival} / ours at {gap:.0e}, geometric mean of the shared cases"
        check_worst(report, claim, [mean], at_least=target)
    took = {
        (case.set_name, case.alpha_name, case.scaling): found[OURS].charged(1e-2)
        for case, found in zip(cases, all_series, strict=True)
    }
    values = [
        seconds / took[name, alpha, "standardised"]
        for (name, alpha, scaling), seconds in took.items()
        if scaling == "raw" and (name, alpha, "standardised") in took
    ]
    check_worst(report, "ours: raw / standardised at 1e-2, every case", values, at_most=1.3)


def check_sparse(report, rows):
    """The targets for times to a gap with l1."""
    values = [row["x_best_1e-03"] for row in rows]
    claim = "best rival / ours at 1e-3, l1"
    check_worst(report, f"{claim}, geometric mean", [geometric_mean(values)], at_least=1)
    check_worst(report, f"{claim}, every case", values, at_least=1 / 1.2)


def check_as_they_come(report, singles, cap):
    """The targets for fits with defaults."""
    models = [{row["model"]: row for row in single} for single in singles]
    for rival in (SGD_MODEL, MLP_MODEL) if len(models[0]) > 1 else ():
        for key in "objective", "log_loss", "seconds":
            values = [compared(found, rival, key, cap) for found in models]
            claim = f"{rival} / ours, both as they come, every case: {key}"
            check_worst(report, claim, values, at_least=1)
    ours = [found[OURS] for found in models]
    share = float(np.mean([row["warned"] == "False" for row in ours]))
    report.check("share of our fits as they come without a warning", share, at_least=1)
    values = [row["gap"] / TOL for row in ours if row["warned"] == "False"]
    check_worst(report, "ours: true gap / tol where it says it converged", values, at_most=3)


def main():
    """Every case of every set, then what they say together."""
    options = arguments(
        __doc__,
        data={"nargs": "+", "choices": NAMES, "help": "which sets (default: all)"},
        alphas={
            "nargs": "+",
            "help": "numbers or 1/n (default: 1/n, 1e-4, 1e-5; text: also 1e-6);"
            " with l1 shares of the largest (default: 0.1, 0.01, 0.001)",
        },
        cap={"type": float, "help": "seconds after which a solver is not followed (default: 60)"},
        penalty={"choices": ("l2", "l1"), "default": "l2", "help": "(default: l2)"},
        threads={"type": int, "default": min(2, cpu_count()), "help": "of BLAS (default: 2)"},
        plot={"action": "store_true", "help": "draw results/time_to_gap_<set>.png"},
    )
    report = Report(Path(__file__), options)
    l1 = options.penalty == "l1"
    all_names = SPARSE if l1 else [name for name in NAMES if name not in FEW_MATTER]
    names = options.data or (("iris", "letter", "20newsgroups") if options.quick else all_names)
    alphas = options.alphas or (["0.1" if l1 else "1e-4"] if options.quick else None)
    cap = options.cap or (2.0 if options.quick else 60.0)
    repeat = options.repeat or 3
    print(f"{options.threads} BLAS thread(s), cap {cap:g} s")
    warnings.simplefilter("ignore")  # of the series; they are kept where a fit is as it comes
    all_cases, all_series, singles, references = [], [], [], []
    with threadpool_limits(options.threads):
        for name in names:
            cases, found = [], []
            for case in cases_of(name, alphas, options.quick, options.penalty):
                if not all_cases:
                    run_series(case, 0.0, 1)  # warm-up
                series, single = measure(report, case, cap, repeat)
                cases.append(case)
                found.append(series)
                singles.append(single)
                known = vars(case.optimum)
                keys = "objective", "gradient_norm", "left", "seconds"
                references.append({"case": case.name} | {key: known[key] for key in keys})
            if options.plot:
                draw(name, cases, found)
            all_cases += cases
            all_series += found
            report.save()  # hours may follow
    report.table("Reference optima", references)
    worst = max(case.optimum.left for case in all_cases)
    report.check("reference optima: relative gap left, every case", worst, at_most=GAPS[-1] / 10)
    rows = tables_of_ratios(report, all_cases, all_series)
    if l1:
        check_sparse(report, rows)
    else:
        check_series(report, all_cases, all_series, rows)
    check_as_they_come(report, singles, cap)
    report.close()


if __name__ == "__main__":
    main()
