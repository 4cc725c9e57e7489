"""Answers how much memory it takes to fit a read-only memory map, beside the size of its file.

The map is float32. Every fit runs in a fresh process of its own, after a small fit that loads the
libraries, and two numbers are taken over two epochs:

arrays   peak of what tracemalloc counts, above what there was before: every NumPy array and Python
         object, exactly, and none of the map's own pages (which the resident size would count)
process  peak growth of the process's anonymous memory (RssAnon in /proc/self/status, Linux),
         sampled every 2 ms: it also has what BLAS and C code allocate, and memory freed but kept

The larger one is held against the target, a quarter of the file.

Then whole fits in many classes, of rows in columns of unlike scales that Newton's method is needed
for: what they take beyond twice the rows and the parameters, which should be a gigabyte at most.

    python benchmarks/bench_memory.py --quick
"""

import json
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _harness import Report, arguments
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skl_softmax import SoftmaxSGDClassifier

N_CLASSES, EPOCHS = 10, 2
OURS = "SoftmaxSGDClassifier"
MANY_CLASSES = [(2000, 900, 80), (3000, 1200, 150), (6000, 768, 300)]  # rows, features, classes
GIGABYTE = 1e9


def cases():
    """Name -> model, number of features, order of the map in memory."""
    ours = partial(SoftmaxSGDClassifier, alpha=1e-5, max_iter=EPOCHS, tol=None, random_state=0)
    sgd = SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None, random_state=0)
    return {
        OURS: (ours(), 784, "C"),
        f"{OURS}, batch_size=1": (ours(batch_size=1), 784, "C"),
        f"{OURS}, early_stopping": (ours(early_stopping=True), 784, "C"),
        f"{OURS}, sgd, averaged": (ours(solver="sgd", average=True), 784, "C"),
        f"{OURS}, adagrad": (ours(solver="adagrad"), 784, "C"),
        f"{OURS}, adam": (ours(solver="adam"), 784, "C"),
        f"{OURS}, map in F order": (ours(), 784, "F"),
        f"{OURS}, narrow": (ours(), 16, "C"),
        "SGDClassifier": (sgd, 784, "C"),
        "SGDClassifier, map in F order": (sgd, 784, "F"),
        "SGDClassifier, narrow": (sgd, 16, "C"),
        "MLPClassifier": (MLPClassifier((), solver="sgd", max_iter=EPOCHS), 784, "C"),
        "LogisticRegression": (LogisticRegression(max_iter=EPOCHS), 784, "C"),
    }


class AnonymousMemory(threading.Thread):
    """Samples the RssAnon of this process until told to stop; ``peak`` is in bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.base = self.peak = self.now()
        self.done = threading.Event()

    @staticmethod
    def now():
        """Bytes, or 0 where the system does not say."""
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        found = [line.split()[1] for line in lines if line.startswith("RssAnon")]
        return int(found[0]) * 1024 if found else 0

    def run(self):
        """Until ``done`` is set."""
        while not self.done.wait(0.002):
            self.peak = max(self.peak, self.now())


def measure(name, path, shape):
    """In the process of its own: fit, and print both peaks as JSON."""
    model, _, order = cases()[name]
    warnings.simplefilter("ignore", ConvergenceWarning)
    rng = np.random.default_rng(0)
    X = np.memmap(path, np.float32, "r", shape=shape, order=order)
    y = rng.integers(N_CLASSES, size=len(X))
    model.fit(rng.random((1000, shape[1]), dtype=np.float32), np.arange(1000) % N_CLASSES)
    print(json.dumps(peaks_of(model, X, y)))


def measure_classes(n_samples, n_features, n_classes):
    """The same of a whole fit in many classes."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_classes
    X = 0.5 * rng.standard_normal((n_classes, n_features))[y]
    X += rng.standard_normal(X.shape)
    X = (X * np.exp(2 * rng.standard_normal(n_features))).astype(np.float32)
    model = SoftmaxSGDClassifier(alpha=1e-5, random_state=0).fit(X[:1000, :20], y[:1000])
    print(json.dumps(peaks_of(model, X, y) | {"epochs": model.n_iter_, "gap": model.gap_}))


def peaks_of(model, X, y):
    """Bytes of a fit."""
    tracemalloc.start()
    sampler = AnonymousMemory()
    sampler.start()
    with threadpool_limits(1):
        model.fit(X, y)
    sampler.done.set()
    sampler.join()
    arrays = tracemalloc.get_traced_memory()[1]
    return {"arrays": arrays, "process": sampler.peak - sampler.base}


def measure_apart(*case):
    """Both peaks of one case, measured in a fresh process."""
    case = json.dumps(case)
    command = [sys.executable, __file__, case]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main():
    """Every case, each on a file of the same size."""
    options = arguments(__doc__)
    report = Report(Path(__file__), options)
    size = 40e6 if options.quick else 200e6
    rows, megabyte = [], 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.float32"
        rng = np.random.default_rng(0)
        with path.open("wb") as file:
            for _ in range(int(size // 4e6)):
                rng.random(10**6, dtype=np.float32).tofile(file)
        for name, (_, n_features, _) in cases().items():
            shape = int(size // 4) // n_features, n_features
            peaks = measure_apart(name, str(path), shape)
            share = max(peaks.values()) / size
            rows.append({"fit": name, "features": n_features})
            rows[-1] |= {f"{key}_MB": peak / megabyte for key, peak in peaks.items()}
            rows[-1] |= {"x_file": share}
            if name.startswith(OURS) and n_features == 784:
                report.check(f"{name}: extra memory / file", share, at_most=0.25)
    report.table(f"{size / megabyte:.0f} MB, {EPOCHS} epochs, 1 BLAS thread", rows)
    rows = []
    for n, d, K in MANY_CLASSES[: 1 if options.quick else None]:
        found = measure_apart(n, d, K)
        peak = max(found["arrays"], found["process"])
        beyond = peak - 2 * 4 * (n * d + d * K)
        rows.append({"fit": f"{n} x {d} in {K} classes", "epochs": found["epochs"]})
        rows[-1] |= {
            "gap": found["gap"],
            "peak_MB": peak / megabyte,
            "beyond_MB": beyond / megabyte,
        }
        claim = f"{rows[-1]['fit']}: GB beyond twice the rows and parameters"
        report.check(claim, max(beyond, 0) / GIGABYTE, at_most=1)
    report.table("Many classes, whole fits, 1 BLAS thread", rows)
    report.close()


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        case = json.loads(sys.argv[1])
        (measure if isinstance(case[0], str) else measure_classes)(*case)
    else:
        main()
