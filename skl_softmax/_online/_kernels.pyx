# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The stream, compiled: `learn` is the rule of `_stream` for one block, in its order.

Everything that a block changes is changed within one call, so that no signal can come in between.
Buffers are allocated in Python, and nothing is raised. Letters: ``z`` the scores
of a row, first those of W, behind them those of W - A, later its weighted residual; ``w`` the
n_classes weights of a feature in W, behind them those in (W - A) mass.

The rows of a block have two parts. `dense` holds the columns that are centred, or all of a dense X;
its weights lie class by class in ``packed`` while the block lasts. The other non-zeros are
``values`` in columns ``at``, from ``starts[r]`` on for row r; a batch links those of a column.
"""

from cython cimport floating
from libc.math cimport exp, exp2, fabs, floor, fmax, fmin, log, log2, logf, sqrt
from libc.stdint cimport int32_t, int64_t

from skl_softmax._kernels cimport (
    fast_exp, index_t, narrow, prefetch, rows_scores, rows_update, softmax_residual,
)

# What is known of a feature: a row of the array `columns`. Sums are by weight.
cdef struct Column:
    double count  # of its non-zeros
    double mean  # of these
    double spread  # sum of their squared deviations from it
    double frequent  # whether it is centred
    double centre
    double scale  # its factor in the scaled rows
    double curvature  # Adagrad's sum
    double penalised  # the `penalties` of the totals that it has had

# What is known of the whole stream. The first line of sums grows by `growth` a row.
cdef struct Totals:
    double weight, rows, iterates, nonzeros, squares, cold, cold_log, curvature_intercept
    double growth  # 2^(rows / half_life)
    double updates
    double mass  # by which W - A is multiplied
    double last, average  # the blend
    double curve_last, curve_cross, curve_average  # its second derivatives
    double penalties  # length of the steps whose prox is due, in units of a column's own step

# The same names in the same order, for Python.
COLUMN = (
    "count", "mean", "spread", "frequent", "centre", "scale", "curvature", "penalised",
)
TOTALS = (
    "weight", "rows", "iterates", "nonzeros", "squares", "cold", "cold_log",
    "curvature_intercept", "growth", "updates", "mass", "last", "average",
    "curve_last", "curve_cross", "curve_average", "penalties",
)

# Sums over the non-zeros of a column in a block; x is taken from ``origin``, the mean before it.
cdef struct Met:
    double count, sum, square, origin

# The step of every column in a block, but for its own curvature.
cdef struct Metric:
    double floor, slope, first, first_intercept, forgotten

# The penalty, and the totals when the block began.
cdef struct Penalties:
    double l2, l1, due, mass

# The non-zeros of a column in a batch: p = head[j] - 1, then following[p] - 1, until -1.
cdef struct Links:
    int32_t *head
    int32_t *following
    int32_t *row  # of a non-zero, in the batch
    int32_t *columns  # that have any
    Py_ssize_t n_columns

cdef enum:
    BLOCK = 256  # rows whose moments are learnt together, at most
    BATCH = 32  # rows an update
    N_SUMS = 8  # at the head of the totals, before `growth`, which grows with them
    FETCHED_AHEAD = 16  # values whose weights are on their way from memory

# The state but for its weights, and what to do with it.
cdef struct Stream:
    Column *columns
    Totals *totals
    Py_ssize_t n_features, n_classes
    bint fit_intercept

# Rows but for their values.
cdef struct Rows:
    Py_ssize_t n_rows
    const Py_ssize_t *y
    double[BLOCK] share  # of its weight, that a row keeps
    int32_t *visited  # columns with non-zeros, and the frequent ones
    Py_ssize_t n_visited
    const int32_t *order  # of the columns in `dense`
    Py_ssize_t n_dense
    int32_t *at
    int32_t *starts
    Metric metric
    Penalties penalties
    Links links

BLOCK_ROWS, BATCH_ROWS = BLOCK, BATCH
cdef double FREQUENT = 0.5  # share of non-zeros above which a column is centred
cdef double DRAWN = 4  # factor by which a scale is drawn to that of all rare columns, at most
cdef double CONSTANT = 1e-14  # of the mean square: a variance that is rounding
cdef double LARGEST_SCALE = 1e30  # whose square is a float32
cdef double LONG_ROW = 4  # times the mean squared norm: above it a row is weighted down
cdef double OUTLYING_ROW = 16  # times the expected squared norm: the most that enters the mean
cdef double FLOOR = 1 / 200.0  # of the mean squared norm: the curvature of every column, at least
cdef double REACH = 2  # of a step, over the root mean squared norm of the rows
cdef double FIRST_CURVATURE = 2  # times the squared gradient of one row that says nothing
cdef double FIRST_CURVE = 10  # of the blend, in rows whose scores vary by one
cdef double LEAST_GAIN = 0.25, LARGEST_GAIN = 4  # of the last iterate
cdef double AVERAGE_POWER = 3  # iterate t weighs about t^3 in the average
cdef double LARGE_GROWTH = 1e100, LARGE_MASS = 1e15  # from which they are counted anew
cdef double ALL_FORGOTTEN = 50  # half-lives
cdef double LEAST_AGE = 0.04  # updates behind the average, so that its mass stays finite
cdef Py_ssize_t[BATCH] IN_ORDER
for position in range(BATCH):
    IN_ORDER[position] = position


cdef inline void fetch_column(
    const Column *columns, const floating *weights, Py_ssize_t j, Py_ssize_t n_classes
) noexcept nogil:
    """Ask for what an update needs of a column."""
    prefetch(&columns[j].curvature)
    prefetch(&weights[j * 2 * n_classes])
    prefetch(&weights[j * 2 * n_classes + n_classes - 1])
    prefetch(&weights[(j + 1) * 2 * n_classes - 1])


# Moments

cdef inline void meet(const Column *column, Met *met, double x, double weight) noexcept nogil:
    """Add a non-zero to the sums of its column over this block."""
    if met.count == 0:
        met.origin = column.mean if column.count > 0 else x
    x -= met.origin
    met.count += weight
    met.sum += weight * x
    met.square += weight * x * x


cdef Py_ssize_t meet_dense(
    const floating *dense, Py_ssize_t n_rows, Py_ssize_t n_features, const floating *weight,
    Column *columns, Met *met, int32_t *visited,
) noexcept nogil:
    """Meet the non-zeros of dense rows; returns the number of ``visited`` columns.

    They are those with a non-zero, and the frequent ones.
    """
    cdef Py_ssize_t r, j, n_visited = 0
    cdef floating x
    for r in range(n_rows):
        for j in range(n_features):
            x = dense[r * n_features + j]
            if x != 0:
                meet(&columns[j], &met[j], x, weight[r])
    for j in range(n_features):
        if met[j].count > 0 or columns[j].frequent:
            visited[n_visited] = <int32_t>j
            n_visited += 1
    return n_visited


cdef Py_ssize_t meet_csr(
    const floating *data, const int32_t *indices, const int32_t *indptr, Py_ssize_t n_rows,
    const floating *weight, Column *columns, Met *met, int32_t *visited, Py_ssize_t n_visited,
) noexcept nogil:
    """The same for CSR rows; ``visited`` begins with the frequent columns."""
    cdef Py_ssize_t r, p, j, last = indptr[n_rows] - 1
    for r in range(n_rows):
        for p in range(indptr[r], indptr[r + 1]):
            j = indices[min(p + FETCHED_AHEAD, last)]
            prefetch(&columns[j])
            prefetch(&met[j])
            if data[p] == 0:
                continue
            j = indices[p]
            if met[j].count == 0 and not columns[j].frequent:
                visited[n_visited] = <int32_t>j
                n_visited += 1
            meet(&columns[j], &met[j], data[p], weight[r])
    return n_visited


cdef inline double mean_square(const Column *column) noexcept nogil:
    """Of a column's non-zeros."""
    return column.spread / column.count + column.mean * column.mean


cdef inline double log_size(const Column *column) noexcept nogil:
    return column.count * 0.5 * log(fmax(mean_square(column), 1e-300))


cdef inline void merge(Column *column, Met *met, double growth) noexcept nogil:
    """Moments of a column from those before and those of a block (Chan's formula)."""
    cdef double count = growth * met.count, total = column.count + count
    cdef double away = met.sum / met.count
    column.spread += growth * fmax(met.square - met.sum * away, 0)
    column.spread += column.count * count / total * away * away
    column.mean = met.origin + away * count / total
    column.count = total
    met.count = met.sum = met.square = 0


cdef void learn_moments(
    Totals *totals, Column *columns, Met *met, const int32_t *visited, Py_ssize_t n_visited
) noexcept nogil:
    """Merge the sums of a block into the columns and the totals over all non-zeros."""
    cdef Py_ssize_t v
    cdef Column *column
    for v in range(n_visited):
        prefetch(&columns[visited[min(v + FETCHED_AHEAD, n_visited - 1)]])
        column = &columns[visited[v]]
        if column.count > 0 and not column.frequent:
            totals.cold -= column.count
            totals.cold_log -= log_size(column)
        if met[visited[v]].count > 0:
            totals.nonzeros += totals.growth * met[visited[v]].count
            merge(column, &met[visited[v]], totals.growth)
        column.frequent = column.count > FREQUENT * totals.weight
        if column.count > 0 and not column.frequent:
            totals.cold += column.count
            totals.cold_log += log_size(column)


# Scales

cdef inline double drawn(double size, double level) noexcept nogil:
    """By which factor a size is drawn to ``level``."""
    return fmin(fmax(level / size, 1 / DRAWN), DRAWN)


cdef inline double rare_size(const Column *column, double level) noexcept nogil:
    cdef double size = sqrt(mean_square(column))
    return size * drawn(size, level) if size > 0 else 0


cdef inline double frequent_size(
    const Column *column, const Totals *totals, bint centring, double level, double *centre
) noexcept nogil:
    cdef double share = fmin(column.count / totals.weight, 1)
    cdef double square = mean_square(column), variance, size
    if centring:
        centre[0] = column.mean * share
        variance = column.spread / column.count + column.mean * column.mean * (1 - share)
        size = sqrt(variance) if variance > CONSTANT * square else 0
    else:
        size = sqrt(square)
    return size * fmax(drawn(size, level), 1) ** (totals.cold / totals.nonzeros) if size > 0 else 0


cdef void rescale(
    const Totals *totals, Column *columns, const int32_t *visited, Py_ssize_t n_visited,
    bint centring, const floating *weights, floating *intercept, Py_ssize_t n_classes,
) noexcept nogil:
    """Set scale and centre of the columns; the intercepts take up what a centre has moved."""
    cdef Py_ssize_t v, k
    cdef double level = exp(totals.cold_log / totals.cold) if totals.cold > 0 else 1
    cdef double centre, size
    cdef floating shift
    cdef Column *column
    for v in range(n_visited):
        prefetch(&columns[visited[min(v + FETCHED_AHEAD, n_visited - 1)]])
        column = &columns[visited[v]]
        centre = size = 0
        if column.frequent:
            size = frequent_size(column, totals, centring, level, &centre)
        elif column.count > 0:
            size = rare_size(column, level)
        column.scale = fmin(1 / size, LARGEST_SCALE) if size > 0 else 0
        if centre != column.centre:
            shift = <floating>((centre - column.centre) * column.scale)
            column.centre = centre
            for k in range(2 * n_classes):
                intercept[k] += shift * weights[visited[v] * 2 * n_classes + k]


# Scaled rows

cdef void scale_dense(
    floating *dense, Py_ssize_t n_rows, Py_ssize_t n_features, const Column *columns
) noexcept nogil:
    """In place: the rows of a dense X."""
    cdef Py_ssize_t r, j
    cdef floating *row
    for r in range(n_rows):
        row = &dense[r * n_features]
        for j in range(n_features):
            row[j] = <floating>((row[j] - columns[j].centre) * columns[j].scale)


cdef Py_ssize_t frequent_first(
    const Column *columns, int32_t *visited, Py_ssize_t n_visited, int32_t *place
) noexcept nogil:
    """Order columns, ``place`` the frequent ones in a dense row; returns their number."""
    cdef Py_ssize_t v, j, n_dense = 0
    for v in range(n_visited):
        j = visited[v]
        if columns[j].frequent:
            visited[v] = visited[n_dense]
            visited[n_dense] = <int32_t>j
            place[j] = <int32_t>n_dense
            n_dense += 1
    return n_dense


cdef void scale_csr(
    floating *data, int32_t *indices, const int32_t *indptr, Py_ssize_t n_rows,
    const Column *columns, const int32_t *visited, Py_ssize_t n_dense, const int32_t *place,
    floating *dense, int32_t *starts,
) noexcept nogil:
    """Rows of CSR: those of frequent columns go to ``dense``, the others close ranks in place."""
    cdef Py_ssize_t r, p, q, n = 0
    cdef const Column *column
    cdef floating *row
    for r in range(n_rows):
        row = &dense[r * n_dense]
        starts[r] = <int32_t>n
        for q in range(n_dense):
            column = &columns[visited[q]]
            row[q] = <floating>(-column.centre * column.scale)
        for p in range(indptr[r], indptr[r + 1]):
            prefetch(&columns[indices[min(p + FETCHED_AHEAD, indptr[n_rows] - 1)]].frequent)
            column = &columns[indices[p]]
            if data[p] == 0:
                continue
            if column.frequent:
                row[place[indices[p]]] = <floating>((data[p] - column.centre) * column.scale)
            else:
                data[n] = <floating>(data[p] * column.scale)
                indices[n] = indices[p]
                n += 1
    starts[n_rows] = <int32_t>n


cdef void weigh_rows(
    Totals *totals, const floating *dense, Py_ssize_t n_dense, const floating *values,
    const int32_t *starts, Py_ssize_t n_rows, const floating *weight, double *share,
) noexcept nogil:
    """The ``share`` of its weight that a row keeps: less than 1 if it is long."""
    cdef Py_ssize_t r, p
    cdef double square, expected = OUTLYING_ROW * (totals.nonzeros / totals.weight + 1)
    for r in range(n_rows):
        square = 0
        for p in range(n_dense):
            square += dense[r * n_dense + p] * dense[r * n_dense + p]
        for p in range(starts[r], starts[r + 1]):
            square += values[p] * values[p]
        share[r] = square
        totals.squares += totals.growth * weight[r] * fmin(square, expected)
    for r in range(n_rows):
        square = share[r] / fmax(LONG_ROW * totals.squares / totals.weight, 1e-30)
        share[r] = 1 / fmax(1, square)


# Metric and penalty

cdef Metric metric_of(const Totals *totals, Py_ssize_t n_classes) noexcept nogil:
    cdef Metric metric
    cdef double weight = fmax(totals.weight, 1e-300), mean_weight = weight / totals.rows
    cdef double square = totals.squares / weight + 1  # of a row, the intercept's 1 included
    cdef double unit = mean_weight / (n_classes * BATCH)
    metric.floor = FLOOR * mean_weight * square
    metric.slope = sqrt(square) / REACH
    metric.first_intercept = FIRST_CURVATURE * (n_classes - 1) * unit * unit
    metric.first = metric.first_intercept * totals.squares / fmax(totals.nonzeros, 1e-300)
    metric.forgotten = 1 / totals.growth
    return metric


cdef inline double step_of(double curvature, const Metric *metric) noexcept nogil:
    return 1 / (metric.floor + metric.slope * sqrt(curvature * metric.forgotten + metric.first))


cdef inline void penalise(
    Column *column, floating *w, Py_ssize_t n_classes, const Penalties *penalties,
    const Metric *metric,
) noexcept nogil:
    """The prox of the penalty for the steps made since a column's last visit, as one step."""
    cdef Py_ssize_t k
    cdef double length
    cdef floating factor, reach, after, mass = <floating>penalties.mass
    if column.penalised == penalties.due:
        return
    length = (penalties.due - column.penalised) * step_of(column.curvature, metric)
    factor, reach = <floating>(1 / (1 + length * penalties.l2)), <floating>(length * penalties.l1)
    column.penalised = penalties.due
    for k in range(n_classes):
        after = factor * (w[k] - max(-reach, min(w[k], reach)))
        w[n_classes + k] += mass * (after - w[k])
        w[k] = after


# The non-zeros of a column in a batch

cdef void link(
    Stream *stream, Rows *rows, Py_ssize_t start, Py_ssize_t size, floating *weights
) noexcept nogil:
    """Link the values of a batch, and penalise their columns, while their weights are fetched."""
    cdef Links *links = &rows.links
    cdef Py_ssize_t r, p, j, n_values = rows.starts[rows.n_rows], n_classes = stream.n_classes
    links.n_columns = 0
    for r in range(size):
        for p in range(rows.starts[start + r], rows.starts[start + r + 1]):
            j = rows.at[min(p + FETCHED_AHEAD, n_values - 1)]
            fetch_column(stream.columns, weights, j, n_classes)
            j = rows.at[p]
            if links.head[j] == 0:
                links.columns[links.n_columns] = <int32_t>j
                links.n_columns += 1
                penalise(
                    &stream.columns[j], &weights[j * 2 * n_classes], n_classes, &rows.penalties,
                    &rows.metric,
                )
            links.following[p] = links.head[j]
            links.row[p] = <int32_t>r
            links.head[j] = <int32_t>(p + 1)


cdef void unlink(Links *links) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(links.n_columns):
        links.head[links.columns[c]] = 0


# Steps

cdef void pack(
    const floating *weights, const int32_t *order, Py_ssize_t n_dense, Py_ssize_t twice,
    floating *packed,
) noexcept nogil:
    """Copy the weights of dense columns, class by class."""
    cdef Py_ssize_t q, k
    for q in range(n_dense):
        for k in range(twice):
            packed[k * n_dense + q] = weights[order[q] * twice + k]


cdef void unpack(
    floating *weights, const int32_t *order, Py_ssize_t n_dense, Py_ssize_t twice,
    const floating *packed,
) noexcept nogil:
    cdef Py_ssize_t q, k
    for q in range(n_dense):
        for k in range(twice):
            weights[order[q] * twice + k] = packed[k * n_dense + q]


cdef void score(
    const floating *dense, Py_ssize_t n_dense, const floating *packed, const floating *values,
    const int32_t *at, const int32_t *starts, Py_ssize_t n_rows, const floating *weights,
    const floating *intercept, Py_ssize_t twice, floating *scores,
) noexcept nogil:
    """Scores of W, and of (W - A) mass."""
    cdef Py_ssize_t r, p, k
    cdef floating x
    cdef floating *z
    cdef const floating *w
    if n_dense:
        rows_scores(
            dense, n_dense, IN_ORDER, n_rows, n_rows, packed, n_dense, n_dense, twice, scores
        )
    for r in range(n_rows):
        z = &scores[r * twice]
        for k in range(twice):
            z[k] = intercept[k] + (z[k] if n_dense else 0)
        for p in range(starts[r], starts[r + 1]):
            x = values[p]
            w = &weights[at[p] * twice]
            for k in range(twice):
                z[k] += x * w[k]


cdef inline double blended_loss(
    const floating *z, const floating *offset, floating *p, Py_ssize_t n_classes, Py_ssize_t label,
    const Totals *totals, double *slope, double *curve,
) noexcept nogil:
    """``CE`` of ``offset + last z + average z'`` and its derivatives; z' is behind z.

    The second ones are those of Gauss and Newton, the covariance of z and z' under the softmax p.
    """
    cdef Py_ssize_t k
    cdef const floating *other = z + n_classes
    cdef floating last = <floating>totals.last, average = <floating>totals.average
    cdef floating top, total = 0, mean = 0, mean_other = 0, square = 0, product = 0
    cdef floating square_other = 0, u, v, label_score
    for k in range(n_classes):
        p[k] = last * z[k] + average * other[k]
        if offset != NULL:
            p[k] += offset[k]
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
    slope[0], slope[1] = mean, mean_other
    curve[0] = fmax(square / total - mean * mean, 0)
    curve[1] = product / total - mean * mean_other
    curve[2] = fmax(square_other / total - mean_other * mean_other, 0)
    return top - label_score + (logf(total) if floating is float else log(total))


cdef double learn_blend(
    Totals *totals, floating *scores, const floating *offset, floating *p, Py_ssize_t n_classes,
    const Py_ssize_t *y, const floating *weight, Py_ssize_t n_rows,
) noexcept nogil:
    """Divide the scores of W - A by their mass, make a Newton step; returns the ``s CE`` before."""
    cdef Py_ssize_t r, k
    cdef double a, b, c, determinant, loss = 0
    cdef double window = fmin(fmax(totals.rows / totals.growth / 4, 200), 20000)
    cdef double kept = exp(-n_rows / window), first = FIRST_CURVE * totals.weight / totals.rows
    cdef double least = LEAST_GAIN if offset == NULL else 0
    cdef double[2] slope, slopes = [0, 0]
    cdef double[3] curve, curves = [0, 0, 0]
    cdef floating part = <floating>(-1 / totals.mass if totals.mass > 0 else 0)
    cdef floating *z
    for r in range(n_rows):
        z = &scores[r * 2 * n_classes]
        for k in range(n_classes, 2 * n_classes):
            z[k] *= part
        loss += weight[r] * blended_loss(
            z, &offset[r * n_classes] if offset != NULL else NULL, p, n_classes, y[r], totals,
            slope, curve,
        )
        for k in range(2):
            slopes[k] += weight[r] * slope[k]
        for k in range(3):
            curves[k] += weight[r] * curve[k]
    totals.curve_last = kept * totals.curve_last + curves[0]
    totals.curve_cross = kept * totals.curve_cross + curves[1]
    totals.curve_average = kept * totals.curve_average + curves[2]
    a, b, c = totals.curve_last + first, totals.curve_cross, totals.curve_average + first
    determinant = a * c - b * b
    if determinant > 1e-12 * a * c:
        totals.last -= (c * slopes[0] - b * slopes[1]) / determinant
        totals.average -= (a * slopes[1] - b * slopes[0]) / determinant
    totals.last = fmin(fmax(totals.last, least), LARGEST_GAIN)
    totals.average = fmin(fmax(totals.average, 0), 1)
    return loss


cdef void residuals_of(
    const floating *scores, const floating *offset, floating *residuals, Py_ssize_t n_classes,
    const Py_ssize_t *y, const floating *weight, const double *share, Py_ssize_t n_rows,
) noexcept nogil:
    """``s (S(z) - y) / BATCH`` of the scores that W has."""
    cdef Py_ssize_t r, k
    cdef floating *z
    for r in range(n_rows):
        z = &residuals[r * n_classes]
        for k in range(n_classes):
            z[k] = scores[r * 2 * n_classes + k]
            if offset != NULL:
                z[k] += offset[r * n_classes + k]
        softmax_residual(z, n_classes, y[r], <floating>(weight[r] * share[r] / BATCH))


cdef void step_dense(
    const floating *dense, Py_ssize_t n_dense, Py_ssize_t n_rows, floating *residuals,
    floating *packed, Py_ssize_t n_classes, Column *columns, const int32_t *order,
    const Totals *totals, const Metric *metric,
) noexcept nogil:
    """The Adagrad step of the dense columns."""
    cdef Py_ssize_t q, k
    cdef floating move, mass = <floating>totals.mass
    cdef floating *descent = &packed[2 * n_classes * n_dense]
    cdef floating *step = &packed[3 * n_classes * n_dense]
    for q in range((n_classes + 1) * n_dense):
        descent[q] = 0
    rows_update(
        dense, n_dense, IN_ORDER, n_rows, n_rows, descent, n_dense, n_dense, n_classes, 1, residuals
    )
    for k in range(n_classes):
        for q in range(n_dense):
            step[q] += descent[k * n_dense + q] * descent[k * n_dense + q]
    for q in range(n_dense):
        columns[order[q]].curvature += totals.growth * step[q] / n_classes
        step[q] = <floating>step_of(columns[order[q]].curvature, metric)
    for k in range(n_classes):
        for q in range(n_dense):
            move = step[q] * descent[k * n_dense + q]
            packed[k * n_dense + q] += move
            packed[(n_classes + k) * n_dense + q] += mass * move


cdef void step_sparse(
    const floating *values, const Links *links, const floating *residuals, floating *descent,
    floating *weights, Py_ssize_t n_classes, Column *columns, const Totals *totals,
    const Metric *metric,
) noexcept nogil:
    """The Adagrad step of the columns that are linked."""
    cdef Py_ssize_t c, j, k
    cdef int32_t p
    cdef double square
    cdef floating x, step, mass = <floating>totals.mass
    cdef const floating *z
    cdef floating *w
    for c in range(links.n_columns):
        j = links.columns[min(c + FETCHED_AHEAD, links.n_columns - 1)]
        prefetch(&columns[j].curvature)
        prefetch(&links.head[j])
        j = links.columns[c]
        for k in range(n_classes):
            descent[k] = 0
        p = links.head[j]
        while p > 0:
            x = values[p - 1]
            z = &residuals[links.row[p - 1] * n_classes]
            for k in range(n_classes):
                descent[k] -= x * z[k]
            p = links.following[p - 1]
        square = 0
        for k in range(n_classes):
            square += descent[k] * descent[k]
        columns[j].curvature += totals.growth * square / n_classes
        step = <floating>step_of(columns[j].curvature, metric)
        w = &weights[j * 2 * n_classes]
        for k in range(n_classes):
            x = step * descent[k]
            w[k] += x
            w[n_classes + k] += mass * x


cdef void step_intercept(
    const floating *residuals, Py_ssize_t n_rows, floating *descent, floating *intercept,
    Py_ssize_t n_classes, Totals *totals, const Metric *metric,
) noexcept nogil:
    """The Adagrad step of the column of ones."""
    cdef Py_ssize_t r, k
    cdef double square = 0
    cdef floating step, mass = <floating>totals.mass
    for k in range(n_classes):
        descent[k] = 0
    for r in range(n_rows):
        for k in range(n_classes):
            descent[k] -= residuals[r * n_classes + k]
    for k in range(n_classes):
        square += descent[k] * descent[k]
    totals.curvature_intercept += totals.growth * square / n_classes
    square = totals.curvature_intercept * metric.forgotten + metric.first_intercept
    step = <floating>(1 / (metric.floor + metric.slope * sqrt(square)))
    for k in range(n_classes):
        intercept[k] += step * descent[k]
        intercept[n_classes + k] += mass * step * descent[k]


cdef void count_update(Totals *totals) noexcept nogil:
    """Follow the iterate with the average, by the mass of W - A alone."""
    cdef double t
    totals.updates += 1
    totals.iterates += totals.growth
    t = totals.iterates / totals.growth
    if totals.mass > 0:
        totals.mass *= (t + AVERAGE_POWER) / fmax(t - 1, LEAST_AGE)
    else:
        totals.mass = 1


# The rule

cdef void standardise(
    Stream *stream, Rows *rows, Met *met, int32_t *place, const int32_t *indptr, floating *dense,
    floating *data, const floating *weight, const floating *weights, floating *intercept,
) noexcept nogil:
    """Learn the moments of a block, and turn its rows into scaled ones, in place."""
    cdef Totals *totals = stream.totals
    cdef Column *columns = stream.columns
    cdef Py_ssize_t r, n_rows = rows.n_rows
    totals.rows += totals.growth * n_rows
    for r in range(n_rows):
        totals.weight += totals.growth * weight[r]
    if indptr == NULL:
        rows.n_visited = meet_dense(
            dense, n_rows, stream.n_features, weight, columns, met, rows.visited
        )
    else:
        rows.n_visited = meet_csr(
            data, rows.at, indptr, n_rows, weight, columns, met, rows.visited, rows.n_dense
        )
    learn_moments(totals, columns, met, rows.visited, rows.n_visited)
    rescale(
        totals, columns, rows.visited, rows.n_visited, stream.fit_intercept, weights, intercept,
        stream.n_classes,
    )
    if indptr == NULL:
        rows.n_dense, rows.order = stream.n_features, place
        scale_dense(dense, n_rows, stream.n_features, columns)
    else:
        rows.n_dense = frequent_first(columns, rows.visited, rows.n_visited, place)
        rows.order = rows.visited
        scale_csr(
            data, rows.at, indptr, n_rows, columns, rows.order, rows.n_dense, place, dense,
            rows.starts,
        )
    weigh_rows(totals, dense, rows.n_dense, data, rows.starts, n_rows, weight, rows.share)


cdef double learn_batch(
    Stream *stream, Rows *rows, Py_ssize_t start, const floating *dense, const floating *values,
    const floating *weight, const floating *offset, floating *weights, floating *intercept,
    floating *packed, floating *batch,
) noexcept nogil:
    """Learn the scaled rows from ``start`` on; returns the ``s CE`` that the blend had before."""
    cdef Py_ssize_t n_classes = stream.n_classes, n_dense = rows.n_dense
    cdef Py_ssize_t size = min(<Py_ssize_t>BATCH, rows.n_rows - start)
    cdef const int32_t *starts = rows.starts + start
    cdef const Py_ssize_t *y = rows.y + start
    cdef floating *scores = batch
    cdef floating *residuals = &batch[2 * n_classes * BATCH]
    cdef floating *descent = &batch[3 * n_classes * BATCH]
    cdef double loss
    dense, weight = &dense[start * n_dense], &weight[start]
    offset = &offset[start * n_classes] if offset != NULL else NULL
    link(stream, rows, start, size, weights)
    score(
        dense, n_dense, packed, values, rows.at, starts, size, weights, intercept, 2 * n_classes,
        scores,
    )
    loss = learn_blend(stream.totals, scores, offset, residuals, n_classes, y, weight, size)
    residuals_of(scores, offset, residuals, n_classes, y, weight, rows.share + start, size)
    step_dense(
        dense, n_dense, size, residuals, packed, n_classes, stream.columns, rows.order,
        stream.totals, &rows.metric,
    )
    step_sparse(
        values, &rows.links, residuals, descent, weights, n_classes, stream.columns, stream.totals,
        &rows.metric,
    )
    if stream.fit_intercept:
        step_intercept(
            residuals, size, descent, intercept, n_classes, stream.totals, &rows.metric
        )
    unlink(&rows.links)
    count_update(stream.totals)
    if rows.penalties.l2 > 0 or rows.penalties.l1 > 0:
        stream.totals.penalties += <double>size / BATCH
    return loss


def gather(
    data, indices, indptr, const Py_ssize_t[::1] rows, const int32_t[::1] starts, values,
    int32_t[::1] at,
):
    """Copy rows of CSR, row r to ``starts[r]``: what SciPy would do at ten times the overhead."""
    if narrow(data) and narrow(indices):
        return gather_of[float, int32_t](data, indices, indptr, rows, starts, values, at)
    if narrow(data):
        return gather_of[float, int64_t](data, indices, indptr, rows, starts, values, at)
    if narrow(indices):
        return gather_of[double, int32_t](data, indices, indptr, rows, starts, values, at)
    return gather_of[double, int64_t](data, indices, indptr, rows, starts, values, at)


cdef gather_of(
    const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
    const Py_ssize_t[::1] rows, const int32_t[::1] starts, floating[::1] values, int32_t[::1] at,
):
    cdef Py_ssize_t r, n
    cdef index_t p
    with nogil:
        for r in range(rows.shape[0]):
            n = starts[r]
            for p in range(indptr[rows[r]], indptr[rows[r] + 1]):
                values[n] = data[p]
                at[n] = <int32_t>indices[p]
                n += 1


def learn(
    weights, intercept, double[:, ::1] columns, double[::1] totals, block, buffers, double l2,
    double l1, bint fit_intercept, double half_lives,
):
    """Learn a block of rows; returns the sum of their ``s CE`` before, and the number of columns

    at the head of ``visited`` that the next block has to visit.
    """
    if narrow(weights):
        return learn_of[float](
            weights, intercept, columns, totals, block, buffers, l2, l1, fit_intercept, half_lives
        )
    return learn_of[double](
        weights, intercept, columns, totals, block, buffers, l2, l1, fit_intercept, half_lives
    )


cdef learn_of(
    floating[:, :, ::1] weights, floating[:, ::1] intercept, double[:, ::1] columns,
    double[::1] totals, block, buffers, double l2, double l1, bint fit_intercept, double half_lives,
):
    cdef floating[::1] dense = block.dense, data = block.data, offset = block.offset
    cdef floating[::1] packed = buffers.packed, batch = buffers.batch
    cdef const floating[::1] weight = block.weight
    cdef const Py_ssize_t[::1] y = block.y
    cdef int32_t[::1] indices = block.indices, indptr = block.indptr, visited = buffers.visited
    cdef int32_t[::1] place = buffers.place, starts = buffers.starts, head = buffers.head
    cdef int32_t[:, ::1] linked = buffers.linked
    cdef double[:, ::1] met = buffers.met
    cdef floating *w = &weights[0, 0, 0]
    cdef Py_ssize_t b, twice = 2 * weights.shape[2]
    cdef double loss = 0
    cdef Stream stream
    cdef Rows rows
    stream.columns, stream.totals = <Column *>&columns[0, 0], <Totals *>&totals[0]
    stream.n_features, stream.n_classes = weights.shape[0], weights.shape[2]
    stream.fit_intercept = fit_intercept
    rows.n_rows, rows.y, rows.n_dense = y.shape[0], &y[0], block.n_dense
    rows.visited, rows.at, rows.starts = &visited[0], &indices[0], &starts[0]
    rows.links.head, rows.links.columns = &head[0], &linked[0, 0]
    rows.links.following, rows.links.row = &linked[1, 0], &linked[2, 0]
    with nogil:
        stream.totals.growth *= exp2(fmin(half_lives, ALL_FORGOTTEN))
        standardise(
            &stream, &rows, <Met *>&met[0, 0], &place[0], &indptr[0] if indptr.shape[0] else NULL,
            &dense[0], &data[0], &weight[0], w, &intercept[0, 0],
        )
        rows.metric = metric_of(stream.totals, stream.n_classes)
        rows.penalties.l2, rows.penalties.l1 = l2, l1
        rows.penalties.mass = stream.totals.mass
        rows.penalties.due = stream.totals.penalties
        for b in range(rows.n_visited if indptr.shape[0] == 0 else rows.n_dense):
            penalise(
                &stream.columns[visited[b]], &w[visited[b] * twice], stream.n_classes,
                &rows.penalties, &rows.metric,
            )
        pack(w, rows.order, rows.n_dense, twice, &packed[0])
        for b in range((rows.n_rows + BATCH - 1) // BATCH):
            loss += learn_batch(
                &stream, &rows, b * BATCH, &dense[0], &data[0], &weight[0],
                &offset[0] if offset.shape[0] else NULL, w, &intercept[0, 0], &packed[0], &batch[0],
            )
        unpack(w, rows.order, rows.n_dense, twice, &packed[0])
    return loss, rows.n_dense


def export(
    weights, intercept, double[:, ::1] columns, double[::1] totals, double l2, double l1, base,
    coef, double[::1] shown_intercept,
):
    """Set ``coef`` to base and blend, in the coordinates of X; add the blend to the intercept.

    Returns the sum of all curvatures, which is not finite where one has overflowed.
    """
    if narrow(weights):
        return export_of[float](
            weights, intercept, columns, totals, l2, l1, base, coef, shown_intercept
        )
    return export_of[double](
        weights, intercept, columns, totals, l2, l1, base, coef, shown_intercept
    )


cdef export_of(
    const floating[:, :, ::1] weights, const floating[:, ::1] intercept,
    double[:, ::1] columns, double[::1] totals, double l2, double l1,
    const floating[:, ::1] base, floating[:, ::1] coef, double[::1] shown_intercept,
):
    cdef Py_ssize_t j, k, n_classes = intercept.shape[1]
    cdef Totals *total = <Totals *>&totals[0]
    cdef Column *column
    cdef Metric metric
    cdef double length, average = -total.average / total.mass if total.mass > 0 else 0
    cdef double curvatures = total.curvature_intercept
    cdef floating w, factor, reach
    cdef floating part_last = <floating>total.last, part_average = <floating>average
    with nogil:
        metric = metric_of(total, n_classes)
        for k in range(n_classes):
            shown_intercept[k] += total.last * intercept[0, k] + average * intercept[1, k]
        for j in range(coef.shape[0]):
            column = <Column *>&columns[j, 0]
            curvatures += column.curvature
            length = (total.penalties - column.penalised) * step_of(column.curvature, &metric)
            factor = <floating>(column.scale / (1 + length * l2))
            reach = <floating>(length * l1)
            for k in range(n_classes):
                w = weights[j, 0, k]
                coef[j, k] = factor * (
                    part_last * (w - max(-reach, min(w, reach)))
                    + part_average * weights[j, 1, k]
                )
            if l1 > 0:
                for k in range(n_classes):
                    if fabs(weights[j, 0, k]) <= reach:
                        coef[j, k] = 0
            if column.centre != 0:
                for k in range(n_classes):
                    shown_intercept[k] -= column.centre * coef[j, k]
            if base.shape[0]:
                for k in range(n_classes):
                    coef[j, k] += base[j, k]
    return curvatures


def renormalise(weights, intercept, double[:, ::1] columns, double[::1] totals):
    """Count in new units what has grown large: by powers of two, so that nothing is rounded."""
    if narrow(weights):
        return renormalise_of[float](weights, intercept, columns, totals)
    return renormalise_of[double](weights, intercept, columns, totals)


cdef renormalise_of(
    floating[:, :, ::1] weights, floating[:, ::1] intercept, double[:, ::1] columns,
    double[::1] totals,
):
    cdef Py_ssize_t i, j, k, n_classes = intercept.shape[1]
    cdef Totals *total = <Totals *>&totals[0]
    cdef Column *column
    cdef double unit
    cdef floating factor
    with nogil:
        if total.growth > LARGE_GROWTH:
            unit = exp2(-floor(log2(total.growth)))
            for i in range(N_SUMS + 1):
                totals[i] *= unit
            for j in range(columns.shape[0]):
                column = <Column *>&columns[j, 0]
                column.count *= unit
                column.spread *= unit
                column.curvature *= unit
        if total.mass > LARGE_MASS:
            unit = exp2(-floor(log2(total.mass)))
            total.mass *= unit
            factor = <floating>unit
            for k in range(n_classes):
                intercept[1, k] *= factor
                for j in range(weights.shape[0]):
                    weights[j, 1, k] *= factor
