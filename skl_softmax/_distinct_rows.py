"""The rows as a set of weighted ones: in an order of their own, equal ones once.

What is learnt from them so depends neither on the order in which rows were given nor on whether one
was repeated or weighted.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skl_softmax._kernels import csr_hashes, dense_hashes
from skl_softmax._rows import Rows
from skl_softmax._softmax import Codes, Floats

_DIGITS = 12  # of a weight that are the same however it was summed
_RUN, _RUNS = 16, 4  # columns of a run, and runs that are read at first: 64 tell most rows apart
_MUCH = 4  # times as many columns, for which it is worth reading twice what they do not tell apart


def distinct(data: Rows, weight: Floats | None = None, digits: int = _DIGITS) -> tuple[Rows, Codes]:
    """Rows equal in content and label as one, of their weights' sum, in the order of their hashes.

    ``rows`` of the result are their positions in the same X. Returns also a number for the content
    of each, from 0 in this order: those that differ in the label alone have the same. ``weight``,
    of all rows of X, may have more digits than the numbers of X have; sums keep ``digits``.
    """
    data = canonical(data)
    given = data.weight if weight is None else weight
    rows, y = data.rows, data.y[data.rows]
    hashes = _hashes(data)
    order = np.argsort(hashes)
    tied = _tied(hashes[order])
    among = order[tied]
    order[tied] = among[np.lexsort((y[among], hashes[among]))]
    hashes, labels = hashes[order], y[order]
    other = hashes[1:] != hashes[:-1]
    first = np.flatnonzero(np.append(True, other | (labels[1:] != labels[:-1])))
    contents = np.cumsum(np.append(0, other))[first]
    at = rows[order[first]]
    total = np.add.reduceat(given[rows[order]].astype(np.float64), first)
    mantissa, exponent = np.frexp(total / total.mean())
    merged = np.zeros(len(data.weight), data.X.dtype)
    merged[at] = np.ldexp(np.round(mantissa, digits), exponent)
    return replace(data, weight=merged, rows=at), contents


def _hashes(data: Rows) -> NDArray[np.uint64]:
    """Of each row: of a part of its columns, or of all where others have the same part."""
    every = max(1, data.X.shape[1] // (_RUN * _RUNS))
    every = every if every >= _MUCH else 1
    hashes = _hashed(data, data.rows, every)
    if every > 1:
        order = np.argsort(hashes)
        tied = order[_tied(hashes[order])]
        if len(tied):
            full = _hashed(data, data.rows[tied], 1)
            first = np.flatnonzero(np.append(True, hashes[tied[1:]] != hashes[tied[:-1]]))
            # Repetitions of one row are no others: it is hashed as if it were alone.
            others = np.maximum.reduceat(full, first) != np.minimum.reduceat(full, first)
            others = np.repeat(others, np.diff(np.append(first, len(tied))))
            hashes[tied[others]] = full[others]
    return hashes


def _tied(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of these sorted ones have an equal neighbour."""
    same = hashes[1:] == hashes[:-1]
    return np.append(same, False) | np.append(False, same)


def _hashed(data: Rows, rows: Codes, every: int) -> NDArray[np.uint64]:
    found = np.zeros(len(rows), np.uint64)
    if data.dense:
        dense_hashes(data.X, rows, every, found)
    else:
        read = np.arange(data.X.shape[1]) // _RUN % every == 0
        X = data.X
        values, indices, indptr = map(np.ascontiguousarray, (X.data, X.indices, X.indptr))
        csr_hashes(values, indices, indptr, rows, read.astype(np.uint8), found)
    return found


def canonical(data: Rows) -> Rows:
    """The same rows, a CSR matrix without zeros, each entry in one part: squares are no sums."""
    if data.dense or (data.X.has_canonical_format and data.X.data.all()):
        return data
    X = data.X.copy()
    X.sum_duplicates()
    X.eliminate_zeros()
    return replace(data, X=X)
