"""Answers how an epoch grows with the samples, the features and the classes.

CSR, float32, 80 non-zeros a row. From 20000 x 100000 with 20 classes one of the three sizes is a
tenth, then tenfold. An epoch should grow with samples and classes and not with features; but the
weights leave the caches as they grow, which SciPy's products X @ W and X.T @ R show without us.

    python benchmarks/bench_scaling.py --quick

x_smaller: epoch over that of the size before; x_products: epoch over SciPy's at this size.
"""

from functools import partial
from itertools import product
from pathlib import Path

from _harness import Report, arguments, in_ms, ratio, time_epochs
from datasets import random_csr
from rivals import two_products
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

BASE = {"n_samples": 20000, "n_features": 100000, "n_classes": 20}
PRODUCTS = "SciPy's two products"
SOLVERS = {
    "l2": {"solver": "sgd", "learning_rate": "constant", "eta0": 1.0},
    "l1": {"solver": "sgd", "learning_rate": "constant", "eta0": 1.0, "penalty": "l1"},
    "adagrad": {"solver": "adagrad"},
}


def contenders(sizes):
    """Functions of a number of epochs, on data of these sizes."""
    data = random_csr(**sizes)

    def fit(options, n_epochs):
        model = SoftmaxSGDClassifier(**options, max_iter=n_epochs, tol=None, random_state=0)
        model.fit(data.X, data.y)  # a new one, so that no old one keeps its memory

    found = {PRODUCTS: two_products(data)}
    for solver, options in SOLVERS.items():
        for size in (1, 256):
            found[f"{solver}, batch {size}"] = partial(fit, options | {"batch_size": size})
    return found


def main():
    """Grow each of the sizes in turn, then check the features."""
    options = arguments(__doc__)
    report = Report(Path(__file__), options)
    repeat = options.repeat or (3 if options.quick else 5)
    base = BASE | ({"n_samples": 2000, "n_features": 20000} if options.quick else {})
    for grown in base:
        sizes = [base[grown] // 10, base[grown], base[grown] * 10]
        found = {
            (name, size): run
            for size in sizes
            for name, run in contenders(base | {grown: size}).items()
        }
        with threadpool_limits(1):
            epochs, _ = time_epochs(found, repeat, seconds=0.05 if options.quick else 0.3)
        rows = []
        for name, size in product(dict.fromkeys(name for name, _ in found), sizes):
            taken, before = epochs[name, size], epochs.get((name, size // 10))
            growth = None if before is None else ratio(taken, before)
            rows.append({"contender": name, grown: size, **in_ms(taken, "epoch")})
            rows[-1] |= {"x_smaller": growth, "x_products": ratio(taken, epochs[PRODUCTS, size])}
            if grown == "n_features" and size == sizes[-1] and name != PRODUCTS:
                claim = f"features {sizes[1]} -> {size}, {name}: epoch"
                report.check(claim, growth, at_most=1.5)
        others = ", ".join(f"{key} = {value}" for key, value in base.items() if key != grown)
        report.table(f"{grown} grown; {others}; 1 BLAS thread", rows)
    report.close()


if __name__ == "__main__":
    main()
