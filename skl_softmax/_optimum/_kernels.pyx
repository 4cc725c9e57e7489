# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Compiled loops of the fit without knobs: visits of dual ascent, the Hessian, coordinate descent.

`_dual`, `_newton_move` and `_proximal_move` say what is computed, and the tests hold these loops to
them. Letters: ``z`` scores of a row; ``d`` the displacement of its target; ``U`` as in `_dual`.
"""

from cython cimport floating
from libc.math cimport exp, fabs, fabsf, log, logf
from libc.stdint cimport int32_t, int64_t

from skl_softmax._kernels cimport (
    copied_scores, fast_exp, fast_log, fetch, for_every_cpu, highest, index_t, narrow,
    rows_centred, rows_gram, rows_update,
)


cdef enum:
    CHUNK = 64  # rows whose numbers are in registers and the nearest cache


cdef inline Py_ssize_t centred_row(
    const floating *data, const index_t *indices, Py_ssize_t size, const index_t *centred,
    const floating *centre, Py_ssize_t n_centred, index_t *columns, floating *values,
) noexcept nogil:
    """Write the entries of a row less the centre, and return how many there are.

    They are those that are stored and those of the ``centred`` columns, which, as the ``indices``,
    are in order. A last one lies past the end.
    """
    cdef Py_ssize_t p, c = 0, n = 0
    cdef index_t j, upcoming = centred[0]
    cdef floating x
    for p in range(size):
        j = indices[p]
        x = data[p]
        if j >= upcoming:
            while j > upcoming:
                columns[n], values[n] = upcoming, -centre[c]
                n += 1
                c += 1
                upcoming = centred[c]
            if j == upcoming:
                x -= centre[c]
                c += 1
                upcoming = centred[c]
        columns[n], values[n] = j, x
        n += 1
    while c < n_centred:
        columns[n], values[n] = centred[c], -centre[c]
        n += 1
        c += 1
    return n


def column_moments(
    data, indices, indptr, centred, centre, weight, const Py_ssize_t[::1] rows, columns, values,
    double[:, ::1] moments,
):
    """Moments of each column of rows, less the ``centre`` of some as in `dual_csr`.

    They are the first non-zero, the weight of all, the sum of ``s_i x_ij`` about the first, the sum
    of ``s_i x_ij^2`` and the largest of ``s_i x_ij^2 nnz_i`` (entries of row i), and come filled
    with 0. Returns the weight of all rows; of a column without a zero it is the same to the last
    bit.
    """
    if narrow(data) and narrow(indices):
        return column_moments_of[float, int32_t](
            data, indices, indptr, centred, centre, weight, rows, columns, values, moments
        )
    if narrow(data):
        return column_moments_of[float, int64_t](
            data, indices, indptr, centred, centre, weight, rows, columns, values, moments
        )
    if narrow(indices):
        return column_moments_of[double, int32_t](
            data, indices, indptr, centred, centre, weight, rows, columns, values, moments
        )
    return column_moments_of[double, int64_t](
        data, indices, indptr, centred, centre, weight, rows, columns, values, moments
    )


cdef column_moments_of(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const index_t[::1] centred, const floating[::1] centre, const floating[::1] weight,
    const Py_ssize_t[::1] rows, index_t[::1] columns, floating[::1] values,
    double[:, ::1] moments,
):
    cdef Py_ssize_t r, i, p, size
    cdef double s, x, square, total = 0
    cdef double *moment
    cdef const index_t *column
    cdef const floating *value
    with nogil:
        for r in range(rows.shape[0]):
            i = rows[r]
            s = weight[i]
            total += s
            column, value, size = &indices[indptr[i]], &data[indptr[i]], indptr[i + 1] - indptr[i]
            if centre.shape[0]:
                size = centred_row(
                    value, column, size, &centred[0], &centre[0], centre.shape[0], &columns[0],
                    &values[0],
                )
                column, value = &columns[0], &values[0]
            for p in range(size):
                x = value[p]
                if x == 0:
                    continue
                moment = &moments[column[p], 0]
                if moment[1] == 0:
                    moment[0] = x
                square = s * x * x
                moment[1] += s
                moment[2] += s * (x - moment[0])
                moment[3] += square
                moment[4] = max(moment[4], square * size)
    return total


cdef inline floating dual_target(
    floating *z, floating *d, floating *target, Py_ssize_t n_classes, Py_ssize_t label,
    floating s, double leverage, double step, double *loss, double *divergence, floating *kl,
) noexcept nogil:
    """A row's part of a visit: from scores ``z`` to ``d``, by which its target has moved.

    Adds to the sums of ``s CE`` and ``s KL``, sets ``kl`` to the ``s KL`` that is left and returns
    the step, 0 if nothing has moved.
    """
    cdef Py_ssize_t k
    cdef floating top = highest(z, n_classes), total = 0, share, log_total, t, o, e, far
    cdef floating old = 0, bound = 0, square = 0, absolute = 0, tiny = <floating>1e-30
    # Squares of smaller probabilities than exp(-40) would be subnormal numbers, which are slow.
    cdef floating least = -40
    cdef double theta = step
    for k in range(n_classes):
        z[k] -= top
        t = max(z[k], least)
        d[k] = fast_exp(t) if floating is float else exp(t)
        total += d[k]
    share = 1 / total
    log_total = logf(total) if floating is float else log(total)
    loss[0] += s * (log_total - z[label])
    for k in range(n_classes):
        d[k] *= share
        o = target[k]
        e = d[k] - o
        far = d[k] if d[k] > o else o
        t = fast_log(o + tiny) if floating is float else log(o + tiny)
        old += o * (t - z[k] + log_total)
        bound += e * e / (far + tiny)
        square += e * e
        absolute += fabsf(e) if floating is float else fabs(e)
        d[k] = e
    old = max(old, 0)
    divergence[0] += s * old
    if step < 0:
        bound = max(bound, absolute * absolute)
        theta = min(1.0, (old + 0.5 * bound) / (bound + s * leverage * square + tiny))
    kl[0] = <floating>(s * (1 - theta) * old)
    t = <floating>theta
    if t != 0:
        for k in range(n_classes):
            d[k] *= t
            target[k] += d[k]
    return t


def dual_csr(
    data, indices, indptr, centred, centre, const Py_ssize_t[::1] y, weight,
    const Py_ssize_t[::1] rows, double step, coef, reach, pace, U, q, kl, scores, moved, columns,
    values,
):
    """Visits of `_dual` to ``rows``; returns the sums of ``s CE`` and ``s KL`` met.

    ``centre`` is subtracted from the ``centred`` columns, which, as the indices of a row, are in
    order; after the last comes ``n_features``. ``columns`` and ``values`` are room for a row of it.
    ``step`` is the same for all visits, or negative for that of the dual bound, where ``coef`` is
    ``U``. The last row of ``coef`` (whose soft threshold by ``reach``, if not empty, are the
    weights), of ``pace`` (``S``) and of ``U`` is the intercept's. ``kl`` gets the ``s KL`` that a
    visit leaves.
    """
    if narrow(data) and narrow(indices):
        return dual_csr_of[float, int32_t](
            data, indices, indptr, centred, centre, y, weight, rows, step, coef, reach, pace, U,
            q, kl, scores, moved, columns, values
        )
    if narrow(data):
        return dual_csr_of[float, int64_t](
            data, indices, indptr, centred, centre, y, weight, rows, step, coef, reach, pace, U,
            q, kl, scores, moved, columns, values
        )
    if narrow(indices):
        return dual_csr_of[double, int32_t](
            data, indices, indptr, centred, centre, y, weight, rows, step, coef, reach, pace, U,
            q, kl, scores, moved, columns, values
        )
    return dual_csr_of[double, int64_t](
        data, indices, indptr, centred, centre, y, weight, rows, step, coef, reach, pace, U, q,
        kl, scores, moved, columns, values
    )


cdef dual_csr_of(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const index_t[::1] centred, const floating[::1] centre,
    const Py_ssize_t[::1] y, const floating[::1] weight, const Py_ssize_t[::1] rows, double step,
    const floating[:, ::1] coef, const floating[::1] reach, const floating[::1] pace,
    floating[:, ::1] U, floating[:, ::1] q, floating[::1] kl,
    floating[:, ::1] scores, floating[:, ::1] moved, index_t[::1] columns, floating[::1] values,
):
    cdef double[2] sums = [0, 0]
    with nogil:
        csr_visits(
            data, indices, indptr, centred, centre, y, weight, rows, step, coef, reach, pace, U,
            q, kl, scores, moved, columns, values, &sums[0],
        )
    return sums[0], sums[1]


cdef for_every_cpu csr_visits(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const index_t[::1] centred, const floating[::1] centre,
    const Py_ssize_t[::1] y, const floating[::1] weight, const Py_ssize_t[::1] rows, double step,
    const floating[:, ::1] coef, const floating[::1] reach, const floating[::1] pace,
    floating[:, ::1] U, floating[:, ::1] q, floating[::1] kl,
    floating[:, ::1] scores, floating[:, ::1] moved, index_t[::1] columns, floating[::1] values,
    double *sums,
) noexcept nogil:
    cdef Py_ssize_t r, i, j, k, p, size, n_classes = U.shape[1], n_features = U.shape[0] - 1
    cdef index_t ahead, ahead_stop
    cdef bint sparse = reach.shape[0] > 0
    cdef double leverage
    cdef floating x, s, t, theta
    cdef const index_t *column
    cdef const floating *value
    cdef const floating *w
    cdef floating *u
    cdef floating *z = &scores[0, 0]
    cdef floating *d = &moved[0, 0]
    for r in range(rows.shape[0]):
        i = rows[r]
        s = weight[i]
        column, value, size = &indices[indptr[i]], &data[indptr[i]], indptr[i + 1] - indptr[i]
        if centre.shape[0]:
            size = centred_row(
                value, column, size, &centred[0], &centre[0], centre.shape[0], &columns[0],
                &values[0],
            )
            column, value = &columns[0], &values[0]
        j = rows[min(r + 1, rows.shape[0] - 1)]
        ahead, ahead_stop = indptr[j], indptr[j + 1]
        fetch(&q[j, 0], n_classes)
        leverage = pace[n_features]
        for k in range(n_classes):
            z[k] = coef[n_features, k]
        for p in range(size):
            if ahead < ahead_stop:
                fetch(&U[indices[ahead], 0], n_classes)
                ahead += 1
            j = column[p]
            x = value[p]
            leverage += <double>x * x * pace[j]
            w = &coef[j, 0]
            if sparse:
                t = reach[j]
                for k in range(n_classes):
                    z[k] += x * (w[k] - max(-t, min(w[k], t)))
            else:
                for k in range(n_classes):
                    z[k] += x * w[k]
        theta = dual_target(
            z, d, &q[i, 0], n_classes, y[i], s, leverage, step, &sums[0], &sums[1], &kl[i]
        )
        if theta == 0:
            continue
        for p in range(size):
            j = column[p]
            x = pace[j] * value[p] * s
            u = &U[j, 0]
            for k in range(n_classes):
                u[k] -= x * d[k]
        x = s * pace[n_features]
        for k in range(n_classes):
            U[n_features, k] -= x * d[k]


def dual_dense(
    X, centre, const Py_ssize_t[::1] y, weight, const Py_ssize_t[::1] rows, double step, coef,
    reach, pace, U, q, kl, weights, scores, moved, gram, const Py_ssize_t[::1] in_order, centred,
    scaled,
):
    """`dual_csr` for rows of a dense X, less ``centre`` in all columns.

    ``coef`` and ``U`` are (n_classes, n_features + 1) here, and so is ``weights``, room for the
    soft threshold of ``coef``, empty without. Visits are one after another, as in `dual_csr`, but
    rows are centred, unless the ``centre`` is 0, and weights are read and written, once a block of
    ``len(in_order)`` rows: what the earlier rows of a block have changed in the scores of a later
    one, its ``gram`` matrix tells.
    """
    if narrow(X):
        return dual_dense_of[float](
            X, centre, y, weight, rows, step, coef, reach, pace, U, q, kl, weights, scores, moved,
            gram, in_order, centred, scaled,
        )
    return dual_dense_of[double](
        X, centre, y, weight, rows, step, coef, reach, pace, U, q, kl, weights, scores, moved,
        gram, in_order, centred, scaled,
    )


cdef dual_dense_of(
    const floating[:, :] X, const floating[::1] centre, const Py_ssize_t[::1] y,
    const floating[::1] weight, const Py_ssize_t[::1] rows, double step,
    const floating[:, ::1] coef, const floating[::1] reach, const floating[::1] pace,
    floating[:, ::1] U, floating[:, ::1] q, floating[::1] kl, floating[:, ::1] weights,
    floating[:, ::1] scores, floating[:, ::1] moved, floating[:, ::1] gram,
    const Py_ssize_t[::1] in_order, floating[:, ::1] centred, floating[:, ::1] scaled,
):
    cdef double[2] sums = [0, 0]
    with nogil:
        dense_visits(
            X, centre, y, weight, rows, step, coef, reach, pace, U, q, kl, weights, scores, moved,
            gram, in_order, centred, scaled, &sums[0],
        )
    return sums[0], sums[1]


cdef for_every_cpu dense_visits(
    const floating[:, :] X, const floating[::1] centre, const Py_ssize_t[::1] y,
    const floating[::1] weight, const Py_ssize_t[::1] rows, double step,
    const floating[:, ::1] coef, const floating[::1] reach, const floating[::1] pace,
    floating[:, ::1] U, floating[:, ::1] q, floating[::1] kl, floating[:, ::1] weights,
    floating[:, ::1] scores, floating[:, ::1] moved, floating[:, ::1] gram,
    const Py_ssize_t[::1] in_order, floating[:, ::1] centred, floating[:, ::1] scaled,
    double *sums,
) noexcept nogil:
    cdef Py_ssize_t start, size, r, earlier, i, j, k, n_known, stride, most = in_order.shape[0]
    cdef Py_ssize_t n_classes = U.shape[0], n_features = U.shape[1] - 1, width = sizeof(floating)
    cdef bint sparse = reach.shape[0] > 0
    cdef bint contiguous = X.strides[1] == width and X.strides[0] % width == 0
    cdef bint away = False
    cdef floating shared, theta
    cdef floating *z
    cdef floating *d
    cdef floating *x = &centred[0, 0]
    cdef const floating *first
    cdef const Py_ssize_t *block
    cdef const floating *w = &weights[0, 0] if sparse else &coef[0, 0]
    for j in range(n_features):
        away = away or centre[j] != 0
    if sparse:
        for k in range(n_classes):
            for j in range(n_features + 1):
                weights[k, j] = coef[k, j] - max(-reach[j], min(coef[k, j], reach[j]))
    for start from 0 <= start < rows.shape[0] by most:
        size = min(most, rows.shape[0] - start)
        if contiguous:
            first, stride = &X[0, 0], X.strides[0] // width
            block, n_known = &rows[start], rows.shape[0] - start
        else:
            for r in range(size):
                for j in range(n_features):
                    centred[r, j] = X[rows[start + r], j]
            first, stride, block, n_known = x, n_features, &in_order[0], size
        if away:
            rows_centred(
                first, stride, block, size, &centre[0], &pace[0], n_features, x,
                &scaled[0, 0] if step != 0 else NULL,
            )
        for r in range(size):
            fetch(&q[rows[start + r], 0], n_classes)
        copied_scores(
            first, stride, block, size, n_known, <const floating *>x if away else NULL, w,
            n_features + 1, n_features, n_classes, &scores[0, 0],
        )
        if away:
            first, stride, block = x, n_features, &in_order[0]
        elif step != 0:
            rows_centred(
                first, stride, block, size, &centre[0], &pace[0], n_features, NULL,
                &scaled[0, 0],
            )
        if step != 0:
            rows_gram(first, stride, block, size, &scaled[0, 0], n_features, &gram[0, 0])
        for r in range(size):
            i, z, d = rows[start + r], &scores[r, 0], &moved[r, 0]
            for k in range(n_classes):
                z[k] += w[k * (n_features + 1) + n_features]
            if step < 0:
                for earlier in range(r):
                    shared = (&gram[0, 0])[r * size + earlier]
                    for k in range(n_classes):
                        z[k] -= shared * moved[earlier, k]
            theta = dual_target(
                z, d, &q[i, 0], n_classes, y[i], weight[i],
                (&gram[0, 0])[r * size + r] + pace[n_features], step,
                &sums[0], &sums[1], &kl[i],
            )
            for k in range(n_classes):
                d[k] = weight[i] * d[k] if theta != 0 else 0
                U[k, n_features] -= pace[n_features] * d[k]
        if step == 0:
            continue
        rows_update(
            &scaled[0, 0], n_features, &in_order[0], size, size,
            &U[0, 0], n_features + 1, n_features, n_classes, 1, &moved[0, 0],
        )
        if sparse:
            for k in range(n_classes):
                for j in range(n_features + 1):
                    weights[k, j] = U[k, j] - max(-reach[j], min(U[k, j], reach[j]))


def descend(
    const double[:, ::1] H, const double[::1] reach, double[::1] w, double[::1] gradient,
    Py_ssize_t max_sweeps, double tol,
):
    """Minimise ``<g, D> + 1/2 D^T H D + reach |w + D|`` by coordinate descent; returns the sweeps.

    In place: ``w`` becomes ``w + D`` and ``gradient`` ``g + H D``. Sweeps over the non-zero weights
    alternate with sweeps over all; it ends after one of the latter that gained less than ``tol`` of
    what all sweeps gained.
    """
    cdef Py_ssize_t j, i, sweep = 0, n_weights = w.shape[0]
    cdef double after, limit, delta, gained, total = 0
    cdef bint everything = True
    cdef const double *row
    with nogil:
        while sweep < max_sweeps:
            gained = 0
            for j in range(n_weights):
                if w[j] == 0 and (not everything or fabs(gradient[j]) <= reach[j]):
                    continue
                row = &H[j, 0]
                after = w[j] - gradient[j] / row[j]
                limit = reach[j] / row[j]
                after -= max(-limit, min(after, limit))
                delta = after - w[j]
                if delta == 0:
                    continue
                w[j] = after
                for i in range(n_weights):
                    gradient[i] += delta * row[i]
                gained += row[j] * delta * delta
            sweep += 1
            total += gained
            if gained <= tol * total:
                if everything:
                    break
                everything = True
            else:
                everything = False
    return sweep


def add_gram(
    X, const double[::1] offset, const double[::1] scale, const double[::1] w, double[:, ::1] room,
    double[::1] mean, double[:, ::1] H,
):
    """Add ``sum w_i x_ij`` to the mean and ``sum w_i x_ij x_ik``, k >= j, to H.

    Of rows less the offset, times the scale. ``room`` of shape (n_features, m) is for m at a time.
    """
    if narrow(X):
        add_gram_of[float](X, offset, scale, w, room, mean, H)
    else:
        add_gram_of[double](X, offset, scale, w, room, mean, H)


cdef add_gram_of(
    const floating[:, :] X, const double[::1] offset, const double[::1] scale,
    const double[::1] w, double[:, ::1] room, double[::1] mean, double[:, ::1] H,
):
    with nogil:
        add_products(X, offset, scale, w, room, mean, H)


cdef for_every_cpu add_products(
    const floating[:, :] X, const double[::1] offset, const double[::1] scale,
    const double[::1] w, double[:, ::1] room, double[::1] mean, double[:, ::1] H,
) noexcept nogil:
    cdef Py_ssize_t start, i, j, k, n, chunk = min(<Py_ssize_t>CHUNK, room.shape[1])
    cdef double weighted[CHUNK]
    cdef double total
    cdef double *x
    for start from 0 <= start < X.shape[0] by chunk:
        n = min(chunk, X.shape[0] - start)
        for j in range(X.shape[1]):
            for i in range(n):
                room[j, i] = scale[j] * (X[start + i, j] - offset[j])
        for j in range(X.shape[1]):
            x, total = &room[j, 0], 0
            for i in range(n):
                weighted[i] = w[start + i] * x[i]
                total += weighted[i]
            mean[j] += total
            for k in range(j, X.shape[1]):
                x, total = &room[k, 0], 0
                for i in range(n):
                    total += weighted[i] * x[i]
                H[j, k] += total


def curve(scores, residual, const Py_ssize_t[:] y, weight, damping):
    """In place: ``u`` of each row becomes ``s p (u - p u) + damping u``, the Hessian's action.

    The probabilities ``p`` are recovered from the row's weighted ``residual``, ``s (p - y)``.
    """
    if narrow(scores):
        return curve_of[float](scores, residual, y, weight, damping)
    return curve_of[double](scores, residual, y, weight, damping)


cdef curve_of(
    floating[:, ::1] scores, const floating[:, :] residual, const Py_ssize_t[:] y,
    const floating[:] weight, const floating[:] damping,
):
    with nogil:
        curve_rows(scores, residual, y, weight, damping)


cdef for_every_cpu curve_rows(
    floating[:, ::1] scores, const floating[:, :] residual, const Py_ssize_t[:] y,
    const floating[:] weight, const floating[:] damping,
) noexcept nogil:
    cdef Py_ssize_t i, k, n_classes = scores.shape[1]
    cdef floating s, mean, label
    cdef floating *u
    cdef const floating *r
    if n_classes == 2:
        for i in range(scores.shape[0]):
            u, s = &scores[i, 0], fabs(residual[i, 1])  # of any label, s p (1 - p)
            mean = (s - s * s / weight[i]) * (u[1] - u[0])
            u[0], u[1] = damping[i] * u[0] - mean, damping[i] * u[1] + mean
        return
    for i in range(scores.shape[0]):
        u, r, s = &scores[i, 0], &residual[i, 0], weight[i]
        mean = 0
        for k in range(n_classes):
            mean += r[k] * u[k]
        mean = mean / s + u[y[i]]
        label = u[y[i]]
        for k in range(n_classes):
            u[k] = r[k] * (u[k] - mean) + damping[i] * u[k]
        u[y[i]] += s * (label - mean)


def measure(scores, targets, const Py_ssize_t[::1] y, weight, room):
    """In place: the scores of rows become ``s (S - y)``; returns the sums of ``s CE`` and ``s KL``.

    KL is that of the ``targets`` from S. ``room`` of shape (2 n_classes + 1, m) is for m rows at a
    time.
    """
    if narrow(scores):
        return measure_of[float](scores, targets, y, weight, room)
    return measure_of[double](scores, targets, y, weight, room)


cdef measure_of(
    floating[:, ::1] scores, const floating[:, ::1] targets, const Py_ssize_t[::1] y,
    const floating[::1] weight, floating[:, ::1] room,
):
    cdef double[2] sums = [0, 0]
    with nogil:
        measure_rows(scores, targets, y, weight, room, &sums[0])
    return sums[0], sums[1]


cdef for_every_cpu measure_rows(
    floating[:, ::1] scores, const floating[:, ::1] targets, const Py_ssize_t[::1] y,
    const floating[::1] weight, floating[:, ::1] room,
    double *sums,
) noexcept nogil:
    cdef Py_ssize_t start, i, k, n, n_classes = scores.shape[1], chunk = room.shape[1]
    cdef floating share, found
    cdef floating *z
    cdef floating *power
    for start from 0 <= start < scores.shape[0] by chunk:
        n = min(chunk, scores.shape[0] - start)
        sums[1] += chunk_divergence(
            &targets[start, 0], <const floating *>&scores[start, 0], &weight[start], n,
            n_classes, &room[0, 0],
        )
        power = &room[0, 0] + n * n_classes
        for i in range(n):
            z = &scores[start + i, 0]
            found = z[y[start + i]] - highest(<const floating *>z, n_classes)
            share = 0
            for k in range(n_classes):
                share += power[k]
            sums[0] += weight[start + i] * (
                (logf(share) if floating is float else log(share)) - found
            )
            share = weight[start + i] / share
            for k in range(n_classes):
                z[k] = share * power[k]
            z[y[start + i]] -= weight[start + i]
            power += n_classes


cdef inline double chunk_divergence(
    const floating *targets, const floating *scores, const floating *weight, Py_ssize_t n,
    Py_ssize_t n_classes, floating *room,
) noexcept nogil:
    """The sum of ``s KL`` of a few rows, in loops over all their numbers that compilers vectorise.

    Leaves the powers of e of their scores, the highest of a row 0, in the room.
    """
    cdef Py_ssize_t i, j, k, size = n * n_classes
    cdef floating *power = room + size
    cdef floating *log_total = room + 2 * size
    cdef floating top, found, tiny = <floating>1e-30
    cdef double total = 0
    for i in range(n):
        top = highest(scores + i * n_classes, n_classes)
        for j in range(i * n_classes, (i + 1) * n_classes):
            room[j] = scores[j] - top
    for j in range(size):
        power[j] = fast_exp(room[j]) if floating is float else exp(room[j])
        room[j] = (
            (fast_log(targets[j] + tiny) if floating is float else log(targets[j] + tiny)) - room[j]
        )
    for i in range(n):
        found = 0
        for k in range(n_classes):
            found += power[i * n_classes + k]
        log_total[i] = found
    for i in range(n):
        log_total[i] = fast_log(log_total[i]) if floating is float else log(log_total[i])
    for i in range(n):
        found = log_total[i]
        for j in range(i * n_classes, (i + 1) * n_classes):
            found += targets[j] * room[j]
        total += weight[i] * max(found, 0)
    return total


def foretell(
    U, residual, scores, const Py_ssize_t[::1] y, weight, double least, double[::1] sums, room
):
    """In place: the change ``u`` of scores becomes ``s (q - y)``; returns the sum of ``s KL``.

    ``q = p max(1 + u - p u, least)``, of sum 1, are predictions that are linearised, from those
    whose ``residual`` was ``s (p - y)``; the divergence is from them to those of the ``scores``.
    Adds what it leaves to the ``sums`` of the classes.
    """
    if narrow(U):
        return foretell_of[float](U, residual, scores, y, weight, least, sums, room)
    return foretell_of[double](U, residual, scores, y, weight, least, sums, room)


cdef foretell_of(
    floating[:, ::1] U, const floating[:, ::1] residual, const floating[:, ::1] scores,
    const Py_ssize_t[::1] y, const floating[::1] weight, floating least, double[::1] sums,
    floating[:, ::1] room,
):
    cdef double total = 0
    with nogil:
        if U.shape[1] == 2:
            two_classes_foretold(U, residual, scores, y, weight, least, &sums[0], &total)
        else:
            foretell_rows(U, residual, scores, y, weight, least, sums, room, &total)
    return total


cdef for_every_cpu foretell_rows(
    floating[:, ::1] U, const floating[:, ::1] residual, const floating[:, ::1] scores,
    const Py_ssize_t[::1] y, const floating[::1] weight, floating least, double[::1] sums,
    floating[:, ::1] room,
    double *total,
) noexcept nogil:
    cdef Py_ssize_t start, i, k, n, n_classes = U.shape[1], chunk = room.shape[1]
    cdef floating s, mean, label, share, zero = 0, one = 1
    cdef floating *u
    cdef const floating *r
    for start from 0 <= start < U.shape[0] by chunk:
        n = min(chunk, U.shape[0] - start)
        for i in range(start, start + n):
            u, r, s = &U[i, 0], &residual[i, 0], weight[i]
            mean = 0
            for k in range(n_classes):
                mean += r[k] * u[k]
            mean = mean / s + u[y[i]]
            share = 1 / s  # times s + r, which is 0 for a label of probability 0
            label = max(one + u[y[i]] - mean, least) * max(min(share * (s + r[y[i]]), one), zero)
            for k in range(n_classes):
                u[k] = max(one + u[k] - mean, least) * max(share * r[k], zero)
            u[y[i]] = label
            share = 0
            for k in range(n_classes):
                share += u[k]
            share = 1 / share
            for k in range(n_classes):
                u[k] *= share
        total[0] += chunk_divergence(
            <const floating *>&U[start, 0], &scores[start, 0], &weight[start], n, n_classes,
            &room[0, 0],
        )
        for i in range(start, start + n):
            u, s = &U[i, 0], weight[i]
            for k in range(n_classes):
                u[k] *= s
            u[y[i]] -= s
            for k in range(n_classes):
                sums[k] += u[k]


cdef for_every_cpu two_classes_foretold(
    floating[:, ::1] U, const floating[:, ::1] residual, const floating[:, ::1] scores,
    const Py_ssize_t[::1] y, const floating[::1] weight, floating least, double *sums,
    double *divergence,
) noexcept nogil:
    """`foretell` of two classes, in loops that compilers vectorise."""
    cdef Py_ssize_t start = 0, i, n
    cdef floating p, q, s, u, m, total, moved, zero = 0, one = 1, tiny = <floating>1e-30
    cdef floating label[CHUNK]
    cdef floating target[CHUNK]
    cdef floating other[CHUNK]
    cdef floating margin[CHUNK]
    while start < U.shape[0]:
        n = min(<Py_ssize_t>CHUNK, U.shape[0] - start)
        for i in range(n):
            label[i] = <int32_t>y[start + i]
        for i in range(n):
            s = weight[start + i]
            p = max(min((label[i] * s + residual[start + i, 1]) / s, one), zero)
            u = U[start + i, 1] - U[start + i, 0]
            q = p * max(one + (one - p) * u, least)
            p = (one - p) * max(one - p * u, least)
            target[i], other[i] = q / (q + p), p / (q + p)
            margin[i] = scores[start + i, 1] - scores[start + i, 0]
        for i in range(n):
            q, p, m = target[i], other[i], margin[i]
            u = -m if m > 0 else m
            u = one + (fast_exp(u) if floating is float else exp(u))
            total = (fast_log(u) if floating is float else log(u)) + max(m, zero) - q * m
            total += q * (fast_log(q + tiny) if floating is float else log(q + tiny))
            margin[i] = total + p * (fast_log(p + tiny) if floating is float else log(p + tiny))
        total, moved = 0, 0
        for i in range(n):
            total += weight[start + i] * max(margin[i], zero)
            q = weight[start + i] * (target[i] - label[i])
            U[start + i, 0], U[start + i, 1] = -q, q
            moved += q
        divergence[0] += total
        sums[0] -= moved
        sums[1] += moved
        start += CHUNK
