"""Answers what one epoch costs, beside the least it has to do and beside the rivals.

CSR: 20000 x 100000, 80 non-zeros a row, 20 classes. Dense: fashion_mnist, 60000 x 784, 10 classes
(random rows where it is not at hand). All float32, l2 with alpha=1e-5 but where said otherwise.

    python benchmarks/bench_epoch.py --quick

floor    CSR: the products X @ W and X.T @ R by SciPy; dense: the quickest NumPy read of all of X
ours     SoftmaxSGDClassifier, solver="sgd" with a constant step; "default": solver="auto"
numpy    the eager minibatch loop of rivals.py
torch    nn.Linear, CrossEntropyLoss and SGD over batches of indices
log_loss that of the training rows after five epochs: whether the time bought anything
"""

from functools import partial
from os import cpu_count
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from _harness import Report, arguments, in_ms, ratio, time_epochs
from datasets import Data, load, random_csr
from rivals import ALPHA, estimator, numpy_loop, one_read, torch, torch_loop, two_products
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

SGD_CLASSIFIER, MLP = "SGDClassifier", "MLPClassifier, batch 256"
OURS = "ours, batch {}"


def our_contenders(data, eta):
    """Plain SGD at four batch sizes, then the other solvers at 256."""
    ours = partial(SoftmaxSGDClassifier, alpha=ALPHA, tol=None, random_state=0)
    sgd = partial(ours, solver="sgd", learning_rate="constant", eta0=eta)
    models = {OURS.format(size): sgd(batch_size=size) for size in (1, 32, 256, 1024)} | {
        "ours, 256, l1": sgd(batch_size=256, penalty="l1"),
        "ours, 256, averaged": sgd(batch_size=256, average=True),
        "ours, 256, momentum": sgd(batch_size=256, momentum=0.9, eta0=eta / 10),
        "ours, 256, adagrad": ours(batch_size=256, solver="adagrad"),
        "ours, 256, adam": ours(batch_size=256, solver="adam", eta0=1e-3),
        "ours, default": ours(),
    }
    return {name: estimator(model, data) for name, model in models.items()}


def their_contenders(data, eta, threads):
    """What a user could pick instead."""
    sgd = SGDClassifier(loss="log_loss", alpha=ALPHA, tol=None, random_state=0)
    sparse = sp.issparse(data.X)
    found = {SGD_CLASSIFIER: estimator(sgd, data)}
    for size in (256, 1024) if sparse else (1, 32, 256, 1024):
        found[f"numpy, batch {size}"] = numpy_loop(data, size, eta)
    if not sparse:
        mlp = MLPClassifier(
            (), solver="sgd", batch_size=256, alpha=ALPHA, learning_rate_init=eta, momentum=0,
            tol=0, n_iter_no_change=10**6, random_state=0,
        )  # fmt: skip
        found[MLP] = estimator(mlp, data)
        if torch:
            found["torch, batch 256"] = torch_loop(data, 256, eta, threads)
    return found


def measure(report, title, data, floor, eta, threads, repeat):
    """One table: all contenders on one data set."""
    floor_name, floor_run = floor
    found = our_contenders(data, eta) | their_contenders(data, eta, threads)
    with threadpool_limits(threads):
        quality = {name: log_loss(data.y, run(5)(data.X)) for name, run in found.items()}
        epochs, setups = time_epochs({floor_name: floor_run} | found, repeat)
    against = {"floor": floor_name, SGD_CLASSIFIER: SGD_CLASSIFIER}
    against |= {"MLP": MLP} if MLP in found else {}
    rows = []
    for name, seconds in epochs.items():
        rows.append({"contender": name, **in_ms(seconds, "epoch")})
        rows[-1]["setup_ms"] = np.median(setups[name]) * 1e3
        rows[-1] |= {f"x_{short}": ratio(seconds, epochs[r]) for short, r in against.items()}
        rows[-1]["log_loss"] = quality.get(name)
    report.table(f"{title}, {threads} BLAS thread(s)", rows)
    return epochs | {"floor": epochs[floor_name]}


def main():
    """Both cases, then the checks."""
    options = arguments(__doc__)
    report = Report(Path(__file__), options)
    repeat = options.repeat or (3 if options.quick else 9)
    if torch is None:
        print("torch is not installed: left out")

    n, d = (2000, 10000) if options.quick else (20000, 100000)
    data = random_csr(n, d, 20)
    floor = "floor: two products", two_products(data)
    took = measure(report, f"CSR {n} x {d}, K = 20", data, floor, 1.0, 1, repeat)
    for size, bound in (256, 1.5), (1, 2.5):
        measured = ratio(took[OURS.format(size)], took["floor"])
        report.check(f"CSR epoch / two products, batch {size}", measured, at_most=bound)
    measured = ratio(took[SGD_CLASSIFIER], took[OURS.format(256)])
    report.check("CSR: SGDClassifier's epoch / ours, batch 256", measured, at_least=5)

    try:
        data, name = load("fashion_mnist"), "fashion_mnist"
    except OSError:
        rng = np.random.default_rng(0)
        data = Data(rng.random((60000, 784), dtype=np.float32), rng.integers(10, size=60000))
        name = "random rows"
    if options.quick:
        data = Data(data.X[:4000], data.y[:4000])
    title = f"Dense {name}, {data.X.shape[0]} x {data.X.shape[1]}, K = 10"
    for threads in sorted({1, min(2, cpu_count())}):
        with threadpool_limits(threads):
            floor = one_read(data)
        took = measure(report, title, data, floor, 0.01, threads, repeat)
        ours, case = took[OURS.format(256)], f"dense, {threads} thread(s):"
        report.check(f"{case} epoch / one read of X", ratio(ours, took["floor"]), at_most=6)
        report.check(f"{case} MLPClassifier's / ours", ratio(took[MLP], ours), at_least=2.5)
        measured = ratio(took[SGD_CLASSIFIER], ours)
        report.check(f"{case} SGDClassifier's / ours", measured, at_least=15)
    report.close()


if __name__ == "__main__":
    main()
