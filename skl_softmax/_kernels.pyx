# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The compiled form of `_softmax.residual`, and the dense products that the other kernels call.

A kernel sees typed buffers and nothing else: it allocates nothing, prints nothing, raises nothing
and holds no lock. The tests hold each to the formula that it computes.

Here and in the other modules, the function that Python calls picks the types of the arrays, and
the one named after it, ``_of``, is compiled for each. A ``def`` of fused types would do both, but
it parses the arguments anew for each type, in more machine code than the loops need. An array that
has not the types that were picked is refused as it is passed on.
"""

from cython cimport floating
from libc.math cimport exp, log1p
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

# splitmix64 (Steele, Lea & Flood, OOPSLA 2014) of the bits of a number at a column; 0 of 0 and -0.
cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline uint64_t skl_softmax_mixed(uint64_t column, double x) {
        uint64_t z, there = -(uint64_t)(x != 0);
        memcpy(&z, &x, 8);
        z += (column + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return (z ^ (z >> 31)) & there;
    }
    """
    uint64_t mixed "skl_softmax_mixed"(uint64_t column, double x) noexcept nogil

cdef extern from "_dense_rows.h" nogil:
    void rows_scores_float(
        const float *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        Py_ssize_t n_known, const float *copy, const float *coef, Py_ssize_t between,
        Py_ssize_t n_features, Py_ssize_t n_classes, float *scores,
    )
    void rows_scores_double(
        const double *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        Py_ssize_t n_known, const double *copy, const double *coef, Py_ssize_t between,
        Py_ssize_t n_features, Py_ssize_t n_classes, double *scores,
    )
    void rows_update_float(
        const float *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        Py_ssize_t n_known, float *coef, Py_ssize_t between, Py_ssize_t n_features,
        Py_ssize_t n_classes, float decay, const float *steps,
    )
    void rows_update_double(
        const double *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        Py_ssize_t n_known, double *coef, Py_ssize_t between, Py_ssize_t n_features,
        Py_ssize_t n_classes, double decay, const double *steps,
    )
    void rows_gram_float(
        const float *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        const float *others, Py_ssize_t n_features, float *gram,
    )
    void rows_gram_double(
        const double *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        const double *others, Py_ssize_t n_features, double *gram,
    )
    void rows_centred_float(
        const float *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        const float *centre, const float *pace, Py_ssize_t n_features, float *centred,
        float *scaled,
    )
    void rows_centred_double(
        const double *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
        const double *centre, const double *pace, Py_ssize_t n_features, double *centred,
        double *scaled,
    )

cdef enum:
    CHUNK = 64  # rows whose numbers are in registers and the nearest cache


cdef for_every_cpu two_class_residual(
    floating[:, ::1] scores, const Py_ssize_t[::1] y, const floating[::1] weight, double *loss
) noexcept nogil:
    """`residual` of two classes, one exponential a row, in loops that compilers vectorise.

    With the margin ``m = z_y - z_other`` the other class has the probability ``1 / (1 + e^m)``,
    which is the residual up to its sign, and the loss is ``log(1 + e^-m)``.
    """
    cdef Py_ssize_t start = 0, i, n
    cdef floating sign[CHUNK]
    cdef floating margin[CHUNK]
    cdef floating share[CHUNK]
    cdef floating found[CHUNK]
    cdef floating a, summed
    while start < scores.shape[0]:
        n = min(<Py_ssize_t>CHUNK, scores.shape[0] - start)
        for i in range(n):  # no branch: labels are in no order that a processor can guess
            sign[i] = 2 * <int32_t>y[start + i] - 1
        for i in range(n):
            margin[i] = sign[i] * (scores[start + i, 1] - scores[start + i, 0])
        for i in range(n):
            a = -margin[i] if margin[i] > 0 else margin[i]
            a = fast_exp(a) if floating is float else exp(a)
            share[i] = (a if margin[i] > 0 else 1) / (1 + a)
            found[i] = fast_log(1 + a) if floating is float else log1p(a)
            found[i] += 0 if margin[i] > 0 else -margin[i]
            found[i] += 0 * margin[i]  # NaN if a score is infinite
        summed = 0
        for i in range(n):
            summed += weight[start + i] * found[i]
            a = sign[i] * weight[start + i] * share[i]
            scores[start + i, 0], scores[start + i, 1] = a, -a
        loss[0] += summed
        start += CHUNK


def residual(scores, const Py_ssize_t[::1] y, weight):
    """In place: the scores of rows become ``s (S - y)``; returns the sum of ``s CE``."""
    if narrow(scores):
        return residual_of[float](scores, y, weight)
    return residual_of[double](scores, y, weight)


cdef residual_of(floating[:, ::1] scores, const Py_ssize_t[::1] y, const floating[::1] weight):
    cdef double loss = 0
    with nogil:
        if scores.shape[1] == 2:
            two_class_residual(scores, y, weight, &loss)
        else:
            any_residual(scores, y, weight, &loss)
    return loss


cdef for_every_cpu any_residual(
    floating[:, ::1] scores, const Py_ssize_t[::1] y, const floating[::1] weight, double *loss
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(scores.shape[0]):
        loss[0] += softmax_residual(&scores[i, 0], scores.shape[1], y[i], weight[i])


cdef void rows_scores(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    Py_ssize_t n_known, const floating *coef, Py_ssize_t between, Py_ssize_t n_features,
    Py_ssize_t n_classes, floating *scores,
) noexcept nogil:
    copied_scores(
        X, stride, rows, n_rows, n_known, <const floating *>NULL, coef, between, n_features,
        n_classes, scores,
    )


cdef void copied_scores(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    Py_ssize_t n_known, const floating *copy, const floating *coef, Py_ssize_t between,
    Py_ssize_t n_features, Py_ssize_t n_classes, floating *scores,
) noexcept nogil:
    if floating is float:
        rows_scores_float(
            X, stride, rows, n_rows, n_known, copy, coef, between, n_features, n_classes, scores
        )
    else:
        rows_scores_double(
            X, stride, rows, n_rows, n_known, copy, coef, between, n_features, n_classes, scores
        )


cdef void rows_update(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    Py_ssize_t n_known, floating *coef, Py_ssize_t between, Py_ssize_t n_features,
    Py_ssize_t n_classes, floating decay, const floating *steps,
) noexcept nogil:
    if floating is float:
        rows_update_float(
            X, stride, rows, n_rows, n_known, coef, between, n_features, n_classes, decay, steps
        )
    else:
        rows_update_double(
            X, stride, rows, n_rows, n_known, coef, between, n_features, n_classes, decay, steps
        )


cdef void rows_gram(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    const floating *others, Py_ssize_t n_features, floating *gram,
) noexcept nogil:
    if floating is float:
        rows_gram_float(X, stride, rows, n_rows, others, n_features, gram)
    else:
        rows_gram_double(X, stride, rows, n_rows, others, n_features, gram)


cdef void rows_centred(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    const floating *centre, const floating *pace, Py_ssize_t n_features, floating *centred,
    floating *scaled,
) noexcept nogil:
    if floating is float:
        rows_centred_float(X, stride, rows, n_rows, centre, pace, n_features, centred, scaled)
    else:
        rows_centred_double(X, stride, rows, n_rows, centre, pace, n_features, centred, scaled)


cdef enum:
    RUN = 16  # columns side by side, a line of the cache


def dense_hashes(X, const Py_ssize_t[::1] rows, Py_ssize_t every, uint64_t[::1] hashes):
    """Add to ``hashes`` the sum over a row's non-zeros of a mix of column and value, as float64.

    So equal rows have equal sums in any container, type and order, and others hardly ever. Of the
    columns, the first `RUN` of every so many times that are read.
    """
    if narrow(X):
        dense_hashes_of[float](X, rows, every, hashes)
    else:
        dense_hashes_of[double](X, rows, every, hashes)


cdef dense_hashes_of(
    const floating[:, :] X, const Py_ssize_t[::1] rows, Py_ssize_t every, uint64_t[::1] hashes
):
    with nogil:
        if X.strides[1] == sizeof(floating):
            hash_rows(X, rows, every, hashes)
        else:
            hash_columns(X, rows, every, hashes)


cdef for_every_cpu hash_rows(
    const floating[:, :] X, const Py_ssize_t[::1] rows, Py_ssize_t every, uint64_t[::1] hashes
) noexcept nogil:
    cdef Py_ssize_t r, j, first, d = X.shape[1], run = RUN if every > 1 else d
    cdef const floating *x
    cdef uint64_t total
    for r in range(rows.shape[0]):
        x, total = &X[rows[r], 0], 0
        for first from 0 <= first < d by run * every:
            prefetch(&X[rows[min(r + 4, rows.shape[0] - 1)], first])
            for j in range(first, min(first + run, d)):
                total += mixed(j, x[j])
        hashes[r] += total


cdef void hash_columns(
    const floating[:, :] X, const Py_ssize_t[::1] rows, Py_ssize_t every, uint64_t[::1] hashes
) noexcept nogil:
    """Of an X whose numbers of a column are near each other."""
    cdef Py_ssize_t r, j, first, start, d = X.shape[1], run = RUN if every > 1 else d
    for start from 0 <= start < rows.shape[0] by CHUNK:
        for first from 0 <= first < d by run * every:
            for j in range(first, min(first + run, d)):
                for r in range(start, min(start + CHUNK, rows.shape[0])):
                    hashes[r] += mixed(j, X[rows[r], j])


def csr_hashes(
    data, indices, indptr, const Py_ssize_t[::1] rows, const uint8_t[::1] read,
    uint64_t[::1] hashes,
):
    """`dense_hashes` of CSR rows that have no two entries at the same place.

    Of the columns where ``read``.
    """
    if narrow(data) and narrow(indices):
        csr_hashes_of[float, int32_t](data, indices, indptr, rows, read, hashes)
    elif narrow(data):
        csr_hashes_of[float, int64_t](data, indices, indptr, rows, read, hashes)
    elif narrow(indices):
        csr_hashes_of[double, int32_t](data, indices, indptr, rows, read, hashes)
    else:
        csr_hashes_of[double, int64_t](data, indices, indptr, rows, read, hashes)


cdef csr_hashes_of(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const Py_ssize_t[::1] rows, const uint8_t[::1] read, uint64_t[::1] hashes,
):
    cdef Py_ssize_t r, p
    with nogil:
        for r in range(rows.shape[0]):
            for p in range(indptr[rows[r]], indptr[rows[r] + 1]):
                if read[indices[p]]:
                    hashes[r] += mixed(indices[p], data[p])
