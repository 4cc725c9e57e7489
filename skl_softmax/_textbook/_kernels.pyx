# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Compiled passes of the textbook solvers, over CSR rows and over dense ones.

The `step` methods say what is computed, and the tests hold these loops to them. Letters: ``z``
scores of a row, then its weighted residual ``s (S(z) - y)``; ``w`` the n_classes contiguous weights
of a feature; ``t`` the number of updates made in this pass.

A sparse row touches few features, but every update also decays (l2), thresholds (l1) and averages
all the others. That part of an update is the same for every feature that is not touched, so it is
tabulated before the pass (`_lazy`) and applied to a feature when it is next touched: an epoch costs
O(nnz * n_classes), whatever the number of features and the batch size.
"""

from cython cimport floating
from libc.math cimport exp, fabs, fmax, log1p, sqrt, sqrtf
from libc.stdint cimport int32_t, int64_t

from skl_softmax._kernels cimport (
    index_t, narrow, prefetch, rows_scores, rows_update, softmax_residual,
)

# The columns of a timetable; `_lazy` gives their meaning.
cdef enum:
    ETA, SCALE, THRESHOLD, MASS, MOMENT, COUNT


cdef inline void csr_scores(
    floating *z, floating scale, const floating *intercept, const floating[:, ::1] coef,
    const floating[::1] data, const index_t[::1] indices, index_t start, index_t stop,
    index_t next_start, index_t next_stop,
) noexcept nogil:
    """``z = scale * x W + b`` of one row, while the weights of the next row are fetched."""
    cdef Py_ssize_t k, n_classes = coef.shape[1]
    cdef index_t p
    cdef floating x
    cdef const floating *w
    for k in range(n_classes):
        z[k] = 0
    for p in range(start, stop):
        if next_start < next_stop:
            prefetch(&coef[indices[next_start], 0])
            prefetch(&coef[indices[next_start], n_classes - 1])
            next_start += 1
        x = data[p]
        w = &coef[indices[p], 0]
        for k in range(n_classes):
            z[k] += x * w[k]
    for k in range(n_classes):
        z[k] = scale * z[k] + intercept[k]


cdef inline void soft_threshold(floating *w, Py_ssize_t n, floating reach) noexcept nogil:
    """Every entry of ``w`` moves by ``reach`` towards zero, and stays there if it gets there."""
    cdef Py_ssize_t k
    for k in range(n):
        w[k] -= max(-reach, min(w[k], reach))


cdef inline double missed_sum(
    double weight, Py_ssize_t first, Py_ssize_t t, const double[:, ::1] timetable
) noexcept nogil:
    """Sum of the averaged iterates of a weight between two updates that only threshold it."""
    cdef Py_ssize_t low = t, high, middle
    cdef double size = fabs(weight), start = timetable[first, THRESHOLD], summed
    if size <= timetable[t, THRESHOLD] - start:
        low, high = first, t  # `high` becomes the update that makes the weight zero
        while high - low > 1:
            middle = (low + high) // 2
            if timetable[middle, THRESHOLD] - start >= size:
                high = middle
            else:
                low = middle
    summed = (
        (size + start) * (timetable[low, MASS] - timetable[first, MASS])
        - (timetable[low, MOMENT] - timetable[first, MOMENT])
    )
    return summed if weight > 0 else -summed


cdef inline void missed(
    Py_ssize_t j, Py_ssize_t t, floating[:, ::1] coef, int32_t[::1] last,
    double[:, ::1] total, const double[:, ::1] timetable,
) noexcept nogil:
    """Catch up with the thresholds and averages that feature ``j`` missed since its last visit."""
    cdef Py_ssize_t k, first = last[j], n_classes = coef.shape[1]
    cdef double reach = timetable[t, THRESHOLD] - timetable[first, THRESHOLD], mass
    if first == t:
        return
    last[j] = <int32_t>t
    if total.shape[0] and reach == 0:
        mass = timetable[t, MASS] - timetable[first, MASS]
        for k in range(n_classes):
            total[j, k] += coef[j, k] * mass
    elif total.shape[0]:
        for k in range(n_classes):
            total[j, k] += missed_sum(coef[j, k], first, t, timetable)
    if reach > 0:
        soft_threshold(&coef[j, 0], n_classes, <floating>reach)


def sgd_csr(
    data, indices, indptr, const Py_ssize_t[::1] y, weight, const Py_ssize_t[::1] rows,
    Py_ssize_t batch_size, const double[:, ::1] timetable, bint fit_intercept, coef, intercept,
    double square, double[:, ::1] total, double[::1] total_intercept, int32_t[::1] last, scores,
):
    """Updates of plain SGD over ``rows``.

    Returns the sum of ``s CE``, the final ``||coef||_2^2`` and the largest on the way.

    ``coef`` holds ``W / SCALE``. ``total`` is empty unless iterates are averaged, and ``last``
    unless they are or there is an l1 penalty (then the returned norms have no meaning: `settle`
    gives them).
    """
    if narrow(data) and narrow(indices):
        return sgd_csr_of[float, int32_t](
            data, indices, indptr, y, weight, rows, batch_size, timetable, fit_intercept, coef,
            intercept, square, total, total_intercept, last, scores,
        )
    if narrow(data):
        return sgd_csr_of[float, int64_t](
            data, indices, indptr, y, weight, rows, batch_size, timetable, fit_intercept, coef,
            intercept, square, total, total_intercept, last, scores,
        )
    if narrow(indices):
        return sgd_csr_of[double, int32_t](
            data, indices, indptr, y, weight, rows, batch_size, timetable, fit_intercept, coef,
            intercept, square, total, total_intercept, last, scores,
        )
    return sgd_csr_of[double, int64_t](
        data, indices, indptr, y, weight, rows, batch_size, timetable, fit_intercept, coef,
        intercept, square, total, total_intercept, last, scores,
    )


cdef sgd_csr_of(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const Py_ssize_t[::1] y, const floating[::1] weight, const Py_ssize_t[::1] rows,
    Py_ssize_t batch_size, const double[:, ::1] timetable, bint fit_intercept,
    floating[:, ::1] coef, floating[::1] intercept, double square,
    double[:, ::1] total, double[::1] total_intercept, int32_t[::1] last,
    floating[:, ::1] scores,
):
    cdef Py_ssize_t n_rows = rows.shape[0], n_classes = coef.shape[1]
    cdef Py_ssize_t t, r, i, k, start, size, following
    cdef bint lazy = last.shape[0] > 0
    cdef index_t p, ahead, ahead_stop
    cdef double loss = 0, largest = square
    cdef floating step, step_intercept, x, before, after, fallen
    cdef floating *z
    cdef floating *w
    with nogil:
        for t in range((n_rows + batch_size - 1) // batch_size):
            start = t * batch_size
            size = min(batch_size, n_rows - start)
            for r in range(size):
                i = rows[start + r]
                if lazy:
                    for p in range(indptr[i], indptr[i + 1]):
                        missed(indices[p], t, coef, last, total, timetable)
                following = rows[min(start + r + 1, n_rows - 1)]
                csr_scores(
                    &scores[r, 0], <floating>timetable[t, SCALE], &intercept[0], coef,
                    data, indices, indptr[i], indptr[i + 1],
                    indptr[following], indptr[following + 1],
                )
                loss += softmax_residual(&scores[r, 0], n_classes, y[i], weight[i])
            step = <floating>(timetable[t, ETA] / (size * timetable[t + 1, SCALE]))
            step_intercept = <floating>(timetable[t, ETA] / size)
            for r in range(size):
                i = rows[start + r]
                z = &scores[r, 0]
                following = rows[start + min(r + 1, size - 1)]
                ahead, ahead_stop = indptr[following], indptr[following + 1]
                fallen = 0
                for p in range(indptr[i], indptr[i + 1]):
                    if size > 1 and ahead < ahead_stop:
                        prefetch(&coef[indices[ahead], 0])
                        prefetch(&coef[indices[ahead], n_classes - 1])
                        ahead += 1
                    x = step * data[p]
                    w = &coef[indices[p], 0]
                    for k in range(n_classes):
                        before = w[k]
                        after = before - x * z[k]
                        w[k] = after
                        fallen += (before - after) * (before + after)
                square -= fallen
                largest = fmax(largest, square)
                if fit_intercept:
                    for k in range(n_classes):
                        intercept[k] -= step_intercept * z[k]
            if timetable[t + 1, COUNT] > timetable[t, COUNT]:
                for k in range(n_classes):
                    total_intercept[k] += intercept[k]
    return loss, square, largest


def settle(
    const Py_ssize_t[::1] features, Py_ssize_t t, const double[:, ::1] timetable, coef,
    double[:, ::1] total, int32_t[::1] last,
):
    """Bring ``features`` up to update ``t``, with scale 1; returns their two norms."""
    if narrow(coef):
        return settle_of[float](features, t, timetable, coef, total, last)
    return settle_of[double](features, t, timetable, coef, total, last)


cdef settle_of(
    const Py_ssize_t[::1] features, Py_ssize_t t, const double[:, ::1] timetable,
    floating[:, ::1] coef, double[:, ::1] total, int32_t[::1] last,
):
    cdef Py_ssize_t f, j, k
    cdef floating scale = <floating>timetable[t, SCALE]
    cdef double square = 0, absolute = 0
    with nogil:
        for f in range(features.shape[0]):
            j = features[f]
            if last.shape[0]:
                missed(j, t, coef, last, total, timetable)
                last[j] = 0
            for k in range(coef.shape[1]):
                coef[j, k] *= scale
                square += <double>coef[j, k] * coef[j, k]
                absolute += fabs(coef[j, k])
    return square, absolute


def sgd_dense(
    X, const Py_ssize_t[::1] y, weight, const Py_ssize_t[::1] rows, Py_ssize_t batch_size,
    const double[::1] eta, double l2, double l1, bint fit_intercept, coef, intercept, scores,
    const Py_ssize_t[::1] in_order, gathered, double[:, ::1] total, double[::1] total_intercept,
    Py_ssize_t first_averaged,
):
    """Updates of plain SGD over ``rows`` of a dense X; returns the sum of ``s CE``.

    ``coef`` is (n_classes, n_features) here: a dense row is as long as a class's weights. The
    iterates from update ``first_averaged`` on (from 0) are added to ``total``. Where the
    features of a row do not lie side by side, a batch is copied into ``gathered``, which has its
    rows ``in_order``; both are empty otherwise.
    """
    if narrow(X):
        return sgd_dense_of[float](
            X, y, weight, rows, batch_size, eta, l2, l1, fit_intercept, coef, intercept, scores,
            in_order, gathered, total, total_intercept, first_averaged,
        )
    return sgd_dense_of[double](
        X, y, weight, rows, batch_size, eta, l2, l1, fit_intercept, coef, intercept, scores,
        in_order, gathered, total, total_intercept, first_averaged,
    )


cdef sgd_dense_of(
    const floating[:, :] X, const Py_ssize_t[::1] y, const floating[::1] weight,
    const Py_ssize_t[::1] rows, Py_ssize_t batch_size, const double[::1] eta,
    double l2, double l1, bint fit_intercept,
    floating[:, ::1] coef, floating[::1] intercept, floating[:, ::1] scores,
    const Py_ssize_t[::1] in_order, floating[:, ::1] gathered,
    double[:, ::1] total, double[::1] total_intercept, Py_ssize_t first_averaged,
):
    cdef Py_ssize_t n_rows = rows.shape[0], n_classes = coef.shape[0], n_features = coef.shape[1]
    cdef Py_ssize_t t, r, j, k, start, size, n_known, stride
    cdef double loss = 0
    cdef floating step, decay
    cdef const floating *first
    cdef const Py_ssize_t *batch
    with nogil:
        for t in range((n_rows + batch_size - 1) // batch_size):
            start = t * batch_size
            size = min(batch_size, n_rows - start)
            if gathered.shape[0]:
                for r in range(size):
                    for j in range(n_features):
                        gathered[r, j] = X[rows[start + r], j]
                first, stride, batch, n_known = &gathered[0, 0], n_features, &in_order[0], size
            else:
                first, stride = &X[0, 0], X.strides[0] // <Py_ssize_t>sizeof(floating)
                batch, n_known = &rows[start], n_rows - start
            rows_scores(
                first, stride, batch, size, n_known,
                &coef[0, 0], n_features, n_features, n_classes, &scores[0, 0],
            )
            step = <floating>(eta[t] / size)
            for r in range(size):
                for k in range(n_classes):
                    scores[r, k] += intercept[k]
            for r in range(size):
                loss += softmax_residual(
                    &scores[r, 0], n_classes, y[rows[start + r]], weight[rows[start + r]]
                )
                for k in range(n_classes):
                    scores[r, k] *= step
                    if fit_intercept:
                        intercept[k] -= scores[r, k]
            decay = <floating>(1 - eta[t] * l2)
            rows_update(
                first, stride, batch, size, n_known,
                &coef[0, 0], n_features, n_features, n_classes, decay, &scores[0, 0],
            )
            if l1 > 0:
                soft_threshold(&coef[0, 0], n_classes * n_features, <floating>(eta[t] * l1))
            if t >= first_averaged:
                for k in range(n_classes):
                    total_intercept[k] += intercept[k]
                    for j in range(n_features):
                        total[k, j] += coef[k, j]
    return loss


cdef inline void shrunk_once(
    floating *w, const floating *accumulated, Py_ssize_t n_classes,
    floating eta, floating epsilon, floating l2, floating l1,
) noexcept nogil:
    """Prox of the penalty in Adagrad's metric."""
    cdef Py_ssize_t k
    cdef floating step, reach
    for k in range(n_classes):
        step = eta / (
            (sqrtf(accumulated[k]) if floating is float else sqrt(accumulated[k])) + epsilon
        )
        step = step if accumulated[k] > 0 else 0  # no gradient yet, no metric, no step
        reach = step * l1
        w[k] = (w[k] - max(-reach, min(w[k], reach))) / (1 + step * l2)


cdef inline void shrunk(
    floating *w, const floating *accumulated, Py_ssize_t n_classes,
    double eta, double epsilon, double l2, double l1, double updates,
) noexcept nogil:
    """``updates`` times the prox of the penalty in Adagrad's metric, in closed form.

    One prox is ``|w| <- max(0, |w| - step l1) / (1 + step l2)``; many are a geometric series.
    """
    cdef Py_ssize_t k
    cdef double step, x, decay, size
    for k in range(n_classes):
        if w[k] == 0 or accumulated[k] == 0:
            continue
        step = eta / (sqrt(accumulated[k]) + epsilon)
        size = fabs(w[k])
        if l2 > 0:
            x = step * l2
            # The series is exact to double precision here, and much faster than log1p.
            decay = exp(-updates * (
                x * (1 - x * (0.5 - x * (1. / 3 - x * (0.25 - x / 5)))) if x < 1e-3 else log1p(x)
            ))
            size = decay * size - l1 / l2 * (1 - decay)
        else:
            size -= updates * step * l1
        size = fmax(size, 0)
        w[k] = <floating>(size if w[k] > 0 else -size)


cdef inline void caught_up(
    Py_ssize_t j, Py_ssize_t t, Py_ssize_t n_full, double share, double eta, double epsilon,
    double l2, double l1, floating[:, ::1] coef, const floating[:, ::1] accumulated,
    int32_t[::1] last,
) noexcept nogil:
    """Catch up with the updates that feature ``j`` missed; the one after ``n_full`` is short."""
    cdef Py_ssize_t full = min(t, n_full) - last[j]
    if full > 0:
        shrunk(&coef[j, 0], &accumulated[j, 0], coef.shape[1], eta, epsilon, l2, l1, full)
    if t > n_full and last[j] <= n_full:
        shrunk_once(
            &coef[j, 0], &accumulated[j, 0], coef.shape[1],
            <floating>(eta * share), <floating>epsilon, <floating>l2, <floating>l1,
        )
    last[j] = <int32_t>t


cdef inline void adagrad_move(
    floating *w, floating *accumulated, floating *gradient, Py_ssize_t n, floating eta,
    floating epsilon,
) noexcept nogil:
    """``s += g^2, w -= eta g / (sqrt(s) + epsilon)``; leaves the gradient at 0."""
    cdef Py_ssize_t k
    for k in range(n):
        accumulated[k] += gradient[k] * gradient[k]
        w[k] -= eta * gradient[k] / (
            (sqrtf(accumulated[k]) if floating is float else sqrt(accumulated[k])) + epsilon
        )
        gradient[k] = 0


def adagrad_csr(
    data, indices, indptr, const Py_ssize_t[::1] y, weight, const Py_ssize_t[::1] rows,
    Py_ssize_t batch_size, double eta, double epsilon, double l2, double l1, bint fit_intercept,
    coef, intercept, accumulated, accumulated_intercept, const Py_ssize_t[::1] features,
    int32_t[::1] last, gradient, gradient_intercept, scores,
):
    """Updates of Adagrad over ``rows``.

    Returns the sum of ``s CE``, ``||coef||_2^2`` and ``||coef||_1`` over ``features``, which must
    name every feature that has a weight or a non-zero. ``gradient`` comes and goes filled with 0.
    """
    if narrow(data) and narrow(indices):
        return adagrad_csr_of[float, int32_t](
            data, indices, indptr, y, weight, rows, batch_size, eta, epsilon, l2, l1, fit_intercept,
            coef, intercept, accumulated, accumulated_intercept, features, last, gradient,
            gradient_intercept, scores,
        )
    if narrow(data):
        return adagrad_csr_of[float, int64_t](
            data, indices, indptr, y, weight, rows, batch_size, eta, epsilon, l2, l1, fit_intercept,
            coef, intercept, accumulated, accumulated_intercept, features, last, gradient,
            gradient_intercept, scores,
        )
    if narrow(indices):
        return adagrad_csr_of[double, int32_t](
            data, indices, indptr, y, weight, rows, batch_size, eta, epsilon, l2, l1, fit_intercept,
            coef, intercept, accumulated, accumulated_intercept, features, last, gradient,
            gradient_intercept, scores,
        )
    return adagrad_csr_of[double, int64_t](
        data, indices, indptr, y, weight, rows, batch_size, eta, epsilon, l2, l1, fit_intercept,
        coef, intercept, accumulated, accumulated_intercept, features, last, gradient,
        gradient_intercept, scores,
    )


cdef adagrad_csr_of(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const Py_ssize_t[::1] y, const floating[::1] weight, const Py_ssize_t[::1] rows,
    Py_ssize_t batch_size, double eta, double epsilon, double l2, double l1, bint fit_intercept,
    floating[:, ::1] coef, floating[::1] intercept,
    floating[:, ::1] accumulated, floating[::1] accumulated_intercept,
    const Py_ssize_t[::1] features, int32_t[::1] last,
    floating[:, ::1] gradient, floating[::1] gradient_intercept, floating[:, ::1] scores,
):
    cdef Py_ssize_t n_rows = rows.shape[0], n_classes = coef.shape[1]
    cdef Py_ssize_t n_full = n_rows // batch_size
    cdef Py_ssize_t n_updates = (n_rows + batch_size - 1) // batch_size
    cdef Py_ssize_t t, r, i, j, k, f, start, size, following
    cdef bint penalised = l1 > 0 or l2 > 0
    cdef index_t p
    cdef double loss = 0, square = 0, absolute = 0
    cdef double share = <double>(n_rows - n_full * batch_size) / batch_size
    cdef floating x, step
    cdef floating *z
    cdef floating *g
    with nogil:
        for t in range(n_updates):
            start = t * batch_size
            size = min(batch_size, n_rows - start)
            step = <floating>(eta if t < n_full else eta * share)
            for r in range(size):
                i = rows[start + r]
                if penalised:
                    for p in range(indptr[i], indptr[i + 1]):
                        caught_up(
                            indices[p], t, n_full, share, eta, epsilon, l2, l1,
                            coef, accumulated, last,
                        )
                following = rows[min(start + r + 1, n_rows - 1)]
                csr_scores(
                    &scores[r, 0], 1, &intercept[0], coef, data, indices,
                    indptr[i], indptr[i + 1], indptr[following], indptr[following + 1],
                )
                loss += softmax_residual(&scores[r, 0], n_classes, y[i], weight[i])
            for r in range(size):
                i = rows[start + r]
                z = &scores[r, 0]
                for p in range(indptr[i], indptr[i + 1]):
                    x = data[p] / size
                    g = &gradient[indices[p], 0]
                    for k in range(n_classes):
                        g[k] += x * z[k]
                if fit_intercept:
                    for k in range(n_classes):
                        gradient_intercept[k] += z[k] / size
            for r in range(size):
                i = rows[start + r]
                for p in range(indptr[i], indptr[i + 1]):
                    j = indices[p]
                    if last[j] == t + 1:
                        continue  # another non-zero of this batch came first
                    g = &gradient[j, 0]
                    adagrad_move(
                        &coef[j, 0], &accumulated[j, 0], g, n_classes, step, <floating>epsilon
                    )
                    if penalised:
                        shrunk_once(
                            &coef[j, 0], &accumulated[j, 0], n_classes,
                            step, <floating>epsilon, <floating>l2, <floating>l1,
                        )
                    last[j] = <int32_t>(t + 1)
            if fit_intercept:
                adagrad_move(
                    &intercept[0], &accumulated_intercept[0], &gradient_intercept[0], n_classes,
                    step, <floating>epsilon,
                )
        for f in range(features.shape[0]):
            j = features[f]
            if penalised:
                caught_up(
                    j, n_updates, n_full, share, eta, epsilon, l2, l1, coef, accumulated, last
                )
            last[j] = 0
            for k in range(n_classes):
                square += <double>coef[j, k] * coef[j, k]
                absolute += fabs(coef[j, k])
    return loss, square, absolute
