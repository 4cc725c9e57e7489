# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The compiled stream."""

from cython cimport floating
from libc.math cimport exp, fmax, fmin, log, logf, sqrt
from libc.stdint cimport int32_t

from skl_softmax._shared cimport (
    fast_exp, index_t, prefetch, rows_scores_double, rows_scores_float, rows_update_double,
    rows_update_float, softmax_residual,
)

# The stream (`_solvers._streaming`). Facts of a feature: COUNT_SEEN, MEAN and SPREAD (sum of
# squared deviations) of its non-zeros, by weight; CENTRE and SCALE_OF at its last visit;
# CURVATURE, Adagrad's sum; VISITED, the PENALTIES by then; FREQUENT, whether it is centred.
# Totals: WEIGHT_SEEN, ROWS_SEEN, UPDATES, NONZEROS by weight; SQUARES and OVERLAP, sums over rows
# of their squared norms and of rho; MASS_OF_AVERAGE, by which the average's part is multiplied;
# SHARE and SHARE_AVERAGE, the blend, and CURVE.. its second derivatives; COLD and COLD_LOG,
# number and log size of the non-zeros of columns that are not FREQUENT; PENALTIES, the proxes due
# so far.
cdef enum:
    COUNT_SEEN, MEAN, SPREAD, CENTRE, SCALE_OF, CURVATURE, VISITED, FREQUENT, N_FACTS

cdef enum:
    WEIGHT_SEEN, ROWS_SEEN, UPDATES, NONZEROS, SQUARES, OVERLAP, MASS_OF_AVERAGE, SHARE,
    SHARE_AVERAGE, CURVE, CURVE_CROSS, CURVE_AVERAGE, COLD, COLD_LOG, CURVATURE_INTERCEPT,
    PENALTIES, N_TOTALS

STREAM_FACTS, STREAM_TOTALS = N_FACTS, N_TOTALS
STREAM_COUNT = COUNT_SEEN
STREAM_WEIGHT, STREAM_ROWS, STREAM_UPDATES = WEIGHT_SEEN, ROWS_SEEN, UPDATES
STREAM_MASS = MASS_OF_AVERAGE
STREAM_LAST, STREAM_AVERAGE = SHARE, SHARE_AVERAGE
STREAM_BATCH = 32  # rows an update
STREAM_PACKED = 0.125  # share of non-zeros above which a column is kept as a dense one: speed only

cdef enum:
    UPDATE_BATCH = 32
cdef double PACKED_SHARE = STREAM_PACKED
cdef double FREQUENT_SHARE = 0.5  # of non-zeros, above which a column is centred
cdef double RESCALED = 4  # most that a rare column moves towards the level of all
cdef double CONSTANT = 1e-14  # of the mean square: a variance that is rounding
cdef double LARGEST_SCALE = 1e30, LARGEST_VALUE = 1e100  # whose squares are floats
cdef double LONG_ROW = 4  # times the mean squared norm: above it a row is weighted down
cdef double OUTLYING_ROW = 16  # times the expected squared norm: the most that enters the mean
cdef double FLOOR = 1 / 13.0  # of the overlap: the curvature that every step respects
cdef double REACH = 2  # of a step, over the root mean squared norm of the rows
cdef double FIRST_CURVATURE = 2  # times the squared gradient of one row that says nothing
cdef enum:
    FETCHED_AHEAD = 8  # values, whose weights are on their way from memory
cdef double FIRST_CURVE = 10  # of the blend, in rows whose scores vary by one
cdef double LEAST_GAIN = 0.25, LARGEST_GAIN = 4  # of the last iterate
cdef double AVERAGE_POWER = 3  # iterate t weighs about t^3 in the average


cdef inline double bounded(double x) noexcept nogil:
    return max(-LARGEST_VALUE, min(x, LARGEST_VALUE))


cdef inline double mean_square(const double *fact) noexcept nogil:
    """Of a column's non-zeros."""
    return fact[SPREAD] / fact[COUNT_SEEN] + fact[MEAN] * fact[MEAN]


cdef inline double log_size(const double *fact) noexcept nogil:
    return fact[COUNT_SEEN] * 0.5 * log(fmax(mean_square(fact), 1e-300))


cdef inline void meet(double *fact, double *met, double x, double weight) noexcept nogil:
    """Add a non-zero to the sums of its column over this block, taken about the mean so far."""
    if fact[COUNT_SEEN] == 0 and met[0] == 0:
        fact[MEAN] = x
    x -= fact[MEAN]
    met[0] += weight
    met[1] += weight * x
    met[2] += weight * x * x


def stream_moments_dense(
    const floating[:, :] X, const floating[::1] weight, const Py_ssize_t[::1] rows,
    double[:, ::1] facts, double[:, ::1] met, Py_ssize_t[::1] columns,
):
    """Sums over the non-zeros of a block; returns the number of ``columns`` met: all."""
    cdef Py_ssize_t r, i, j
    cdef double x
    with nogil:
        for j in range(X.shape[1]):
            columns[j] = j
            met[j, 0] = met[j, 1] = met[j, 2] = 0
        for r in range(rows.shape[0]):
            i = rows[r]
            for j in range(X.shape[1]):
                x = X[i, j]
                if x != 0:
                    meet(&facts[j, 0], &met[j, 0], bounded(x), weight[i])
    return X.shape[1]


def stream_moments_csr(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const floating[::1] weight, const Py_ssize_t[::1] rows,
    double[:, ::1] facts, double[:, ::1] met, Py_ssize_t[::1] columns, Py_ssize_t n_columns,
    int32_t[::1] place,
):
    """The same; ``columns`` begins with those that every block meets, ``place`` is its inverse."""
    cdef Py_ssize_t r, i, j, q
    cdef index_t p
    with nogil:
        for q in range(n_columns):
            place[columns[q]] = <int32_t>q
            met[q, 0] = met[q, 1] = met[q, 2] = 0
        for r in range(rows.shape[0]):
            i = rows[r]
            for p in range(indptr[i], indptr[i + 1]):
                if data[p] == 0:
                    continue
                j = indices[p]
                q = place[j]
                if q >= n_columns or columns[q] != j:  # `place` is of an earlier block
                    q = n_columns
                    place[j] = <int32_t>q
                    columns[q] = j
                    met[q, 0] = met[q, 1] = met[q, 2] = 0
                    n_columns += 1
                meet(&facts[j, 0], &met[q, 0], bounded(data[p]), weight[i])
    return n_columns


def stream_scales(
    const Py_ssize_t[::1] columns, const double[:, ::1] met, double weight, Py_ssize_t n_rows,
    bint centring, double[:, ::1] facts, double[::1] totals,
    const floating[:, :, ::1] weights, floating[:, ::1] intercept,
    Py_ssize_t[::1] order, int32_t[::1] place,
):
    """Learn the moments of a block, and set the scale and centre of the ``columns`` that it met.

    ``order`` gets the columns to be kept as dense ones first; returns their number.
    """
    cdef Py_ssize_t q, j, k, n_columns = columns.shape[0], n_packed = 0, n_other = 0
    cdef double count, away, level, share, frequency, square, size, centre
    cdef floating shift
    cdef double *fact
    with nogil:
        totals[WEIGHT_SEEN] += weight
        totals[ROWS_SEEN] += n_rows
        for q in range(n_columns):
            fact = &facts[columns[q], 0]
            if fact[COUNT_SEEN] > 0 and not fact[FREQUENT]:
                totals[COLD] -= fact[COUNT_SEEN]
                totals[COLD_LOG] -= log_size(fact)
            count = fact[COUNT_SEEN] + met[q, 0]
            if met[q, 0] > 0:
                away = met[q, 1] / met[q, 0]
                fact[SPREAD] += (
                    fmax(met[q, 2] - met[q, 1] * away, 0)
                    + fact[COUNT_SEEN] * met[q, 0] / count * away * away
                )
                fact[MEAN] += away * met[q, 0] / count
                fact[COUNT_SEEN] = count
                totals[NONZEROS] += met[q, 0]
            fact[FREQUENT] = count > FREQUENT_SHARE * totals[WEIGHT_SEEN]
            if count > 0 and not fact[FREQUENT]:
                totals[COLD] += count
                totals[COLD_LOG] += log_size(fact)
        level = exp(totals[COLD_LOG] / totals[COLD]) if totals[COLD] > 0 else 1
        share = totals[COLD] / totals[NONZEROS] if totals[NONZEROS] > 0 else 0
        for q in range(n_columns):
            j = columns[q]
            fact = &facts[j, 0]
            centre = 0
            if fact[COUNT_SEEN] == 0:
                fact[SCALE_OF] = 0
            else:
                square = mean_square(fact)
                if fact[FREQUENT]:
                    frequency = fmin(fact[COUNT_SEEN] / totals[WEIGHT_SEEN], 1)
                    if centring:
                        centre = fact[MEAN] * frequency
                        size = fact[SPREAD] / fact[COUNT_SEEN] + (
                            fact[MEAN] * fact[MEAN] * (1 - frequency)
                        )
                        size = sqrt(size) if size > CONSTANT * square else 0
                    else:
                        size = sqrt(square)
                    if size > 0:
                        size *= fmin(fmax(level / size, 1), RESCALED) ** share
                else:
                    size = sqrt(square)
                    size /= fmin(fmax(size / level, 1 / RESCALED), RESCALED)
                fact[SCALE_OF] = fmin(1 / size, LARGEST_SCALE) if size > 0 else 0
            if centre != fact[CENTRE]:
                shift = <floating>((centre - fact[CENTRE]) * fact[SCALE_OF])
                fact[CENTRE] = centre
                for k in range(intercept.shape[1]):
                    intercept[0, k] += shift * weights[j, 0, k]
                    intercept[1, k] += shift * weights[j, 1, k]
            if fact[COUNT_SEEN] > PACKED_SHARE * totals[WEIGHT_SEEN]:
                order[n_packed] = j
                place[j] = <int32_t>n_packed
                n_packed += 1
            else:
                n_other += 1
                order[n_columns - n_other] = j
                place[j] = <int32_t>(n_columns - n_other)
    return n_packed


def stream_rows_dense(
    const floating[:, :] X, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] order,
    const double[:, ::1] facts, double[:, ::1] scale,
    floating[:, ::1] packed, floating[::1] values, int32_t[::1] at, Py_ssize_t[::1] starts,
):
    """The rows of a block in scaled coordinates.

    Their ``packed`` part is dense. The other non-zeros are ``values`` in the columns
    ``order[at]``, from ``starts[r]`` on for row r.
    """
    cdef Py_ssize_t r, i, q, n_packed = packed.shape[1], n_columns = order.shape[0], n = 0
    cdef double x
    with nogil:
        for q in range(n_columns):
            scale[0, q] = facts[order[q], CENTRE]
            scale[1, q] = facts[order[q], SCALE_OF]
        for r in range(rows.shape[0]):
            i = rows[r]
            for q in range(n_packed):
                packed[r, q] = <floating>((bounded(X[i, order[q]]) - scale[0, q]) * scale[1, q])
            for q in range(n_packed, n_columns):
                x = X[i, order[q]]
                if x != 0:
                    values[n] = <floating>(bounded(x) * scale[1, q])
                    at[n] = <int32_t>q
                    n += 1
            starts[r + 1] = n


def stream_rows_csr(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const Py_ssize_t[::1] rows, const Py_ssize_t[::1] order, const int32_t[::1] place,
    const double[:, ::1] facts,
    floating[:, ::1] packed, floating[::1] values, int32_t[::1] at, Py_ssize_t[::1] starts,
):
    """The same for rows of CSR."""
    cdef Py_ssize_t r, i, q, n_packed = packed.shape[1], n = 0
    cdef index_t p
    cdef const double *fact
    with nogil:
        for r in range(rows.shape[0]):
            i = rows[r]
            for q in range(n_packed):
                fact = &facts[order[q], 0]
                packed[r, q] = <floating>(-fact[CENTRE] * fact[SCALE_OF])
            for p in range(indptr[i], indptr[i + 1]):
                if data[p] == 0:
                    continue
                q = place[indices[p]]
                fact = &facts[indices[p], 0]
                if q < n_packed:
                    packed[r, q] = <floating>((bounded(data[p]) - fact[CENTRE]) * fact[SCALE_OF])
                else:
                    values[n] = <floating>(bounded(data[p]) * fact[SCALE_OF])
                    at[n] = <int32_t>q
                    n += 1
            starts[r + 1] = n


cdef struct Metric:
    double floor, first, reach  # of the weights; of an intercept the next two
    double floor_intercept, first_intercept


cdef inline Metric metric_of(const double *totals, Py_ssize_t n_classes) noexcept nogil:
    cdef Metric metric
    cdef double weight = fmax(totals[WEIGHT_SEEN], 1e-300), overlap = totals[OVERLAP] / weight
    cdef double mean_weight = weight / totals[ROWS_SEEN]
    metric.reach = REACH / sqrt(fmax(totals[SQUARES] / weight, 1e-30))
    metric.first_intercept = FIRST_CURVATURE * (n_classes - 1) * (
        mean_weight * mean_weight / (n_classes * n_classes * <double>(UPDATE_BATCH * UPDATE_BATCH))
    )
    metric.first = metric.first_intercept * (
        fmax(totals[SQUARES] / fmax(totals[NONZEROS], 1e-300), 1e-30)
    )
    metric.floor = FLOOR * overlap
    metric.floor_intercept = FLOOR * fmax(mean_weight, overlap)
    return metric


cdef inline double step_of(const double *fact, Metric metric) noexcept nogil:
    return 1 / (metric.floor + sqrt(fact[CURVATURE] + metric.first) / metric.reach)


cdef inline void shrink(
    floating *w, floating *removed, Py_ssize_t n, floating length, floating l2, floating l1,
    floating mass,
) noexcept nogil:
    """The prox of the penalty for a step of this ``length``, which the average follows."""
    cdef Py_ssize_t k
    cdef floating factor = 1 / (1 + length * l2), reach = length * l1, after
    for k in range(n):
        after = w[k] - max(-reach, min(w[k], reach)) if reach > 0 else w[k]
        after *= factor
        removed[k] += mass * (after - w[k])
        w[k] = after


cdef inline void catch_up(
    floating *w, double *fact, Py_ssize_t n_classes, Metric metric, double l2, double l1,
    double penalties, double mass,
) noexcept nogil:
    """The penalties that a column has missed, as one step."""
    if penalties > fact[VISITED]:
        shrink(
            w, w + n_classes, n_classes,
            <floating>((penalties - fact[VISITED]) * step_of(fact, metric)),
            <floating>l2, <floating>l1, <floating>mass,
        )
    fact[VISITED] = penalties


cdef inline double blend_slope(
    const floating *z, const floating *base, floating *p, Py_ssize_t n_classes, Py_ssize_t label,
    double weight, floating last, floating average, double *slope, double *curve,
) noexcept nogil:
    """``CE`` of ``base + last z + average z'`` and its derivatives by the factors; z' is behind z.

    The second ones are those of Gauss and Newton, the covariance of z and z' under the softmax p.
    """
    cdef Py_ssize_t k
    cdef const floating *other = z + n_classes
    cdef floating top, total = 0, mean = 0, mean_other = 0, square = 0, product = 0
    cdef floating square_other = 0, u, v, label_score
    for k in range(n_classes):
        p[k] = last * z[k] + average * other[k]
        if base != NULL:
            p[k] += base[k]
    label_score, top = p[label], p[0]
    for k in range(1, n_classes):
        top = p[k] if p[k] > top else top
    for k in range(n_classes):
        p[k] = fast_exp(p[k] - top) if floating is float else exp(p[k] - top)
    for k in range(n_classes):
        u = z[k] - z[label]
        v = other[k] - other[label]
        total += p[k]
        mean += p[k] * u
        mean_other += p[k] * v
        square += p[k] * u * u
        product += p[k] * u * v
        square_other += p[k] * v * v
    mean /= total
    mean_other /= total
    slope[0] += weight * mean
    slope[1] += weight * mean_other
    curve[0] += weight * fmax(square / total - mean * mean, 0)
    curve[1] += weight * (product / total - mean * mean_other)
    curve[2] += weight * fmax(square_other / total - mean_other * mean_other, 0)
    return weight * (
        top - label_score + (logf(total) if floating is float else log(total))
    )


cdef inline void blend_step(
    double *totals, double part, const double *slope, const double *curve, double least
) noexcept nogil:
    """A Newton step of the two factors, with discounted second derivatives."""
    cdef double a, b, c, determinant
    cdef double first = FIRST_CURVE * totals[WEIGHT_SEEN] / totals[ROWS_SEEN]
    totals[CURVE] = part * totals[CURVE] + curve[0]
    totals[CURVE_CROSS] = part * totals[CURVE_CROSS] + curve[1]
    totals[CURVE_AVERAGE] = part * totals[CURVE_AVERAGE] + curve[2]
    a = totals[CURVE] + first
    b = totals[CURVE_CROSS]
    c = totals[CURVE_AVERAGE] + first
    determinant = a * c - b * b
    if determinant > 1e-12 * a * c:
        totals[SHARE] -= (c * slope[0] - b * slope[1]) / determinant
        totals[SHARE_AVERAGE] -= (a * slope[1] - b * slope[0]) / determinant
    totals[SHARE] = fmin(fmax(totals[SHARE], least), LARGEST_GAIN)
    totals[SHARE_AVERAGE] = fmin(fmax(totals[SHARE_AVERAGE], 0), 1)


def stream_learn(
    const floating[:, ::1] packed, const floating[::1] values, const int32_t[::1] at,
    const Py_ssize_t[::1] starts, const Py_ssize_t[::1] order,
    const Py_ssize_t[::1] y, const floating[::1] weight, const Py_ssize_t[::1] rows,
    const floating[:, ::1] offset, double l2, double l1, bint fit_intercept,
    double[:, ::1] facts, double[::1] totals,
    floating[:, :, ::1] weights, floating[:, ::1] intercept,
    double[::1] share, double[:, ::1] gram, floating[:, ::1] dense,
    floating[:, ::1] scores, floating[:, ::1] residuals, floating[::1] sums,
    int32_t[:, ::1] lists, int32_t[:, ::1] links, const Py_ssize_t[::1] in_order,
):
    """Updates of a block whose scales are known; returns the sum of ``s CE`` before them.

    ``dense`` is room for the packed columns: n_classes rows of weights, n_classes of the average,
    n_classes of the batch's descent, one of steps. ``lists``, (2, n_columns) with -1 in the first,
    and ``links``, (2, n_values), are room for the lists of a column's values in a batch.
    """
    cdef Py_ssize_t n_rows = rows.shape[0], n_classes = intercept.shape[1]
    cdef Py_ssize_t n_packed = packed.shape[1], twice = 2 * n_classes
    cdef Py_ssize_t t, ahead, start, size, r, other, q, k, p, o, n_touched, j
    cdef double square, overlap, diagonal, trace, expected, loss = 0, mass, update, window, part
    cdef double cost
    cdef double slope[2]
    cdef double curve[3]
    cdef Metric metric
    cdef floating x, step, follow
    cdef floating *z
    cdef floating *w
    cdef const floating *base
    cdef double *fact
    cdef int32_t *head = &lists[0, 0]
    cdef int32_t *touched = &lists[1, 0]
    cdef int32_t *following = &links[0, 0]
    cdef int32_t *row_of = &links[1, 0]
    cdef bint penalised = l2 > 0 or l1 > 0
    with nogil:
        # Long rows
        expected = OUTLYING_ROW * (totals[NONZEROS] / totals[WEIGHT_SEEN] + 1)
        for r in range(n_rows):
            square = 0
            for q in range(n_packed):
                square += packed[r, q] * packed[r, q]
            for p in range(starts[r], starts[r + 1]):
                square += values[p] * values[p]
            share[r] = square
            totals[SQUARES] += weight[rows[r]] * fmin(square, expected)
        for r in range(n_rows):
            square = share[r] / fmax(LONG_ROW * totals[SQUARES] / totals[WEIGHT_SEEN], 1e-30)
            share[r] = 1 / fmax(1, square)
        # Weights of packed columns, class by class
        metric = metric_of(&totals[0], n_classes)
        for q in range(n_packed):
            j = order[q]
            if penalised:
                catch_up(
                    &weights[j, 0, 0], &facts[j, 0], n_classes, metric, l2, l1,
                    totals[PENALTIES], totals[MASS_OF_AVERAGE],
                )
            for k in range(twice):
                dense[k, q] = weights[j, k // n_classes, k % n_classes]
        window = fmin(fmax(totals[ROWS_SEEN] / 4, 200), 20000)
        for t in range((n_rows + UPDATE_BATCH - 1) // UPDATE_BATCH):
            start = t * UPDATE_BATCH
            size = min(<Py_ssize_t>UPDATE_BATCH, n_rows - start)
            mass = totals[MASS_OF_AVERAGE]
            # Lists of the values of a column
            n_touched = 0
            for r in range(start, start + size):
                for p in range(starts[r], starts[r + 1]):
                    ahead = order[at[min(p + FETCHED_AHEAD, starts[n_rows] - 1)]]
                    prefetch(&weights[ahead, 0, 0])
                    prefetch(&weights[ahead, 0, n_classes - 1])
                    prefetch(&weights[ahead, 1, n_classes - 1])
                    prefetch(&facts[ahead, 0])
                    q = at[p]
                    if head[q] < 0:
                        touched[n_touched] = <int32_t>q
                        n_touched += 1
                        if penalised and start:
                            catch_up(
                                &weights[order[q], 0, 0], &facts[order[q], 0], n_classes, metric,
                                l2, l1, totals[PENALTIES], mass,
                            )
                    following[p] = head[q]
                    row_of[p] = <int32_t>(r - start)
                    head[q] = <int32_t>p
            if start == 0:
                for r in range(size):
                    for other in range(r + 1):
                        square = 0
                        for q in range(n_packed):
                            square += packed[r, q] * packed[other, q]
                        gram[r, other] = square
                for o in range(n_touched):
                    p = head[touched[o]]
                    while p >= 0:
                        j = p
                        while j >= 0:
                            gram[row_of[p], row_of[j]] += values[p] * <double>values[j]
                            j = following[j]
                        p = following[p]
                overlap = diagonal = trace = 0
                for r in range(size):
                    square = share[r] * weight[rows[r]]
                    trace += gram[r, r] * square
                    diagonal += (gram[r, r] * square) ** 2
                    for other in range(r):
                        overlap += (
                            2 * gram[r, other] ** 2 * square * share[other] * weight[rows[other]]
                        )
                if trace > 0:
                    overlap = overlap / max(size - 1, 1) * (1 - 1.0 / UPDATE_BATCH)
                    overlap = (overlap + diagonal / UPDATE_BATCH) / trace
                    square = 0
                    for r in range(n_rows):
                        square += weight[rows[r]]
                    totals[OVERLAP] += overlap * square
                metric = metric_of(&totals[0], n_classes)
                if penalised:
                    for o in range(n_touched):
                        j = order[touched[o]]
                        catch_up(
                            &weights[j, 0, 0], &facts[j, 0], n_classes, metric, l2, l1,
                            totals[PENALTIES], mass,
                        )
            # Scores of both iterates
            if n_packed:
                if floating is float:
                    rows_scores_float(
                        &packed[start, 0], n_packed, &in_order[0], size, size,
                        &dense[0, 0], n_packed, n_packed, twice, &scores[0, 0],
                    )
                else:
                    rows_scores_double(
                        &packed[start, 0], n_packed, &in_order[0], size, size,
                        &dense[0, 0], n_packed, n_packed, twice, &scores[0, 0],
                    )
            slope[0] = slope[1] = curve[0] = curve[1] = curve[2] = 0
            for r in range(size):
                z = &scores[r, 0]
                for k in range(twice):
                    z[k] = intercept[k // n_classes, k % n_classes] + (z[k] if n_packed else 0)
                for p in range(starts[start + r], starts[start + r + 1]):
                    x = values[p]
                    w = &weights[order[at[p]], 0, 0]
                    for k in range(twice):
                        z[k] += x * w[k]
                base = &offset[start + r, 0] if offset.shape[0] else NULL
                j = rows[start + r]
                if mass > 0:
                    step = <floating>(-1 / mass)
                    for k in range(n_classes):
                        z[n_classes + k] *= step
                    loss += blend_slope(
                        z, base, &residuals[r, 0], n_classes, y[j], weight[j],
                        <floating>totals[SHARE], <floating>totals[SHARE_AVERAGE],
                        slope, curve,
                    )
                for k in range(n_classes):
                    residuals[r, k] = z[k] + base[k] if base != NULL else z[k]
                x = <floating>(weight[j] * share[start + r] / UPDATE_BATCH)
                cost = softmax_residual(&residuals[r, 0], n_classes, y[j], x)
                if mass == 0:
                    loss += cost * UPDATE_BATCH / share[start + r]
            if mass > 0:
                part = exp(-size / window)
                blend_step(
                    &totals[0], part, slope, curve, 0 if offset.shape[0] else LEAST_GAIN
                )
            # The update
            update = totals[UPDATES] + 1
            part = <double>size / UPDATE_BATCH
            follow = <floating>mass
            if n_packed:
                for k in range(n_classes):
                    for q in range(n_packed):
                        dense[twice + k, q] = 0
                if floating is float:
                    rows_update_float(
                        &packed[start, 0], n_packed, &in_order[0], size, size,
                        &dense[twice, 0], n_packed, n_packed, n_classes, 1, &residuals[0, 0],
                    )
                else:
                    rows_update_double(
                        &packed[start, 0], n_packed, &in_order[0], size, size,
                        &dense[twice, 0], n_packed, n_packed, n_classes, 1, &residuals[0, 0],
                    )
                for q in range(n_packed):
                    dense[twice + n_classes, q] = 0
                for k in range(n_classes):
                    for q in range(n_packed):
                        dense[twice + n_classes, q] += dense[twice + k, q] * dense[twice + k, q]
                for q in range(n_packed):
                    fact = &facts[order[q], 0]
                    fact[CURVATURE] += dense[twice + n_classes, q] / n_classes
                    dense[twice + n_classes, q] = <floating>step_of(fact, metric)
                for k in range(n_classes):
                    for q in range(n_packed):
                        x = dense[twice + n_classes, q] * dense[twice + k, q]
                        dense[k, q] += x
                        dense[n_classes + k, q] += follow * x
                if penalised:
                    for q in range(n_packed):
                        step = <floating>part * dense[twice + n_classes, q]
                        for k in range(n_classes):
                            shrink(
                                &dense[k, q], &dense[n_classes + k, q], 1, step,
                                <floating>l2, <floating>l1, follow,
                            )
            for o in range(n_touched):
                q = touched[o]
                j = order[q]
                for k in range(n_classes):
                    sums[k] = 0
                p = head[q]
                while p >= 0:
                    x = values[p]
                    z = &residuals[row_of[p], 0]
                    for k in range(n_classes):
                        sums[k] -= x * z[k]
                    p = following[p]
                head[q] = -1
                square = 0
                for k in range(n_classes):
                    square += sums[k] * sums[k]
                fact = &facts[j, 0]
                fact[CURVATURE] += square / n_classes
                step = <floating>step_of(fact, metric)
                w = &weights[j, 0, 0]
                for k in range(n_classes):
                    x = step * sums[k]
                    w[k] += x
                    w[n_classes + k] += follow * x
            if fit_intercept:
                square = 0
                for k in range(n_classes):
                    sums[k] = 0
                for r in range(size):
                    for k in range(n_classes):
                        sums[k] += residuals[r, k]
                for k in range(n_classes):
                    square += sums[k] * sums[k]
                totals[CURVATURE_INTERCEPT] += square / n_classes
                step = <floating>(1 / (
                    metric.floor_intercept
                    + sqrt(totals[CURVATURE_INTERCEPT] + metric.first_intercept) / metric.reach
                ))
                for k in range(n_classes):
                    intercept[0, k] -= step * sums[k]
                    intercept[1, k] -= <floating>mass * step * sums[k]
            totals[UPDATES] = update
            if penalised:
                totals[PENALTIES] += part
            if mass > 0:
                totals[MASS_OF_AVERAGE] *= (update + AVERAGE_POWER) / (update - 1)
            else:
                totals[MASS_OF_AVERAGE] = 1
        for q in range(n_packed):
            j = order[q]
            facts[j, VISITED] = totals[PENALTIES]
            for k in range(twice):
                weights[j, k // n_classes, k % n_classes] = dense[k, q]
    return loss


def stream_coef(
    const floating[:, :, ::1] weights, const floating[:, ::1] intercept,
    double[:, ::1] facts, const double[::1] totals, double l2, double l1,
    const floating[:, ::1] base, floating[:, ::1] coef, double[::1] shown_intercept,
):
    """One iterate in the coordinates of X: ``coef``, and what it adds to the intercept."""
    cdef Py_ssize_t j, k, n_classes = intercept.shape[1]
    cdef bint penalised = l2 > 0 or l1 > 0
    cdef double scale
    cdef double gain = totals[SHARE], average = (
        -totals[SHARE_AVERAGE] / totals[MASS_OF_AVERAGE]
        if totals[MASS_OF_AVERAGE] > 0 else 0
    )
    cdef Metric metric
    cdef floating last, shown, factor, reach, part
    cdef floating part_last = <floating>gain, part_average = <floating>average
    cdef const floating *w
    cdef double *fact
    with nogil:
        metric = metric_of(&totals[0], n_classes)
        for k in range(n_classes):
            shown_intercept[k] += gain * intercept[0, k] + average * intercept[1, k]
        for j in range(coef.shape[0]):
            for k in range(n_classes):
                coef[j, k] = base[j, k] if base.shape[0] else 0
            fact = &facts[j, 0]
            if fact[COUNT_SEEN] == 0:
                continue
            scale, factor, reach = fact[SCALE_OF], 1, 0
            if penalised and totals[PENALTIES] > fact[VISITED]:
                part = <floating>((totals[PENALTIES] - fact[VISITED]) * step_of(fact, metric))
                factor = 1 / (1 + part * <floating>l2)
                reach = part * <floating>l1
            w = &weights[j, 0, 0]
            for k in range(n_classes):
                last = w[k]
                if reach > 0:
                    last -= max(-reach, min(last, reach))
                shown = factor * (part_last * last + part_average * w[n_classes + k])
                shown = <floating>scale * shown if last != 0 or l1 == 0 else 0
                coef[j, k] += shown
                if fact[CENTRE] != 0:
                    shown_intercept[k] -= fact[CENTRE] * shown
