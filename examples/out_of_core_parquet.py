"""Learn a Parquet file that is larger than the memory it may take.

The example writes the file, streams it through `partial_fit` in batches of rows, and prints the
peak memory of the process beside the cap, and the progressive accuracy: every batch is predicted
before it is learnt. The columns are in units from 0.001 to 1000 and need no scaling.

Run it with ``python examples/out_of_core_parquet.py``, on Linux or macOS; it takes ten seconds and
needs pyarrow.
"""

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from skl_softmax import SoftmaxSGDClassifier

try:
    import pyarrow as pa
    from pyarrow import parquet
except ImportError:
    raise SystemExit("This example needs pyarrow: pip install pyarrow") from None

N_FEATURES, N_CLASSES = 40, 5
ROWS = 10_000  # in a batch, and in a row group of the file
MB = 1 << 20
NAMES = [f"x{j}" for j in range(N_FEATURES)]


def peak_memory() -> float:
    """Most megabytes that the process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MB


def write(path: Path, n_bytes: int) -> None:
    """Rows of random numbers, a group at a time; the label is drawn by a softmax of them."""
    rng = np.random.default_rng(0)
    units = np.logspace(-3, 3, N_FEATURES, dtype=np.float32)
    weights = rng.standard_normal((N_FEATURES, N_CLASSES))
    schema = pa.schema([(name, pa.float32()) for name in NAMES] + [("label", pa.int8())])
    with parquet.ParquetWriter(path, schema, use_dictionary=False, compression="none") as file:
        while not path.exists() or path.stat().st_size < n_bytes:
            X = rng.standard_normal((ROWS, N_FEATURES), dtype=np.float32)
            y = (X @ weights + rng.gumbel(size=(ROWS, N_CLASSES))).argmax(axis=1)
            columns = [*(X * units).T, y.astype(np.int8)]
            file.write_table(pa.table(dict(zip(schema.names, columns, strict=True))))


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--cap", type=int, default=64, help="memory to take, in MB (default: 64)")
parser.add_argument("--size", type=int, default=256, help="of the file, in MB (default: 256)")
options = parser.parse_args()

with tempfile.TemporaryDirectory() as folder:
    before = peak_memory()
    path = Path(folder) / "rows.parquet"
    write(path, options.size * MB)
    size = path.stat().st_size / MB
    model = SoftmaxSGDClassifier(random_state=0)
    n_rows = n_tested = n_right = 0
    # Without pre_buffer=False, pyarrow keeps all that it has read of the file.
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(ROWS):
            X = np.column_stack([batch[name].to_numpy() for name in NAMES])
            y = batch["label"].to_numpy()
            if n_rows:
                n_right += np.count_nonzero(model.predict(X) == y)
                n_tested += len(y)
            model.partial_fit(X, y, classes=range(N_CLASSES))
            n_rows += len(y)

taken = peak_memory() - before
print(f"file: {size:.0f} MB, {n_rows} rows of {N_FEATURES} features")
print(f"peak memory: {taken:.0f} MB beyond the imports, with a cap of {options.cap} MB")
print(f"progressive accuracy: {n_right / n_tested:.3f}")
if taken > options.cap:
    raise SystemExit("The stream took more memory than the cap.")
