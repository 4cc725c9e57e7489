/* Dense rows against class-major weights, in tiles whose sums stay in registers.

     rows_scores    z[i, k] = sum_j x_i[j] w[k, j]
     rows_update    w[k, j] = decay * w[k, j] - sum_i s[i, k] x_i[j]
     rows_gram      g[i, r] = sum_j x_i[j] x'_r[j] for r <= i
     rows_centred   x'_i[j] = x_i[j] - m[j] and S[j] x'_i[j]

   x_i begins at X + rows[i] * stride, the weights of class k at w + k * between.

   A row is read where it lies in X. While one block of rows is computed, rows that are needed next
   are fetched: memory is as slow as the arithmetic, and rows in random order come without a warning.

   C and not Cython for the sake of three things that Cython has no words for: vectors as values,
   tiles whose size the compiler knows, and a second version of a function for CPUs with AVX2.
   The file includes itself once for each type. */

#ifndef REAL

#include <stddef.h>

#if defined(__GNUC__)
#define TILE static inline __attribute__((always_inline))
#define FETCH(address) __builtin_prefetch((address), 0, 2)
#define UNROLLED _Pragma("GCC unroll 8")
#else /* one number is a vector of length one */
#define TILE static inline
#define FETCH(address)
#define UNROLLED
#endif

/* glibc picks the version at load time. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && __GNUC__ >= 12
#define FOR_EVERY_CPU __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_CPU
#endif

/* 12 sums, 3 rows and 1 weight, or 4 rows, 5 weights and their factors, fit into 16 registers. */
enum { SCORE_ROWS = 3, SCORE_CLASSES = 4, UPDATE_ROWS = 4, UPDATE_CLASSES = 5 };

#define JOIN(name, type) name##_##type
#define NAMED(name, type) JOIN(name, type)
#define OF_TYPE(name) NAMED(name, REAL)

#define REAL float
#include "_dense_rows.h"
#undef REAL
#define REAL double
#include "_dense_rows.h"
#undef REAL

#else

#define Vector OF_TYPE(Vector)
#define AnyVector OF_TYPE(AnyVector)
#define scores_tile OF_TYPE(scores_tile)
#define scores_tiles OF_TYPE(scores_tiles)
#define scores_block OF_TYPE(scores_block)
#define update_tile OF_TYPE(update_tile)
#define update_block OF_TYPE(update_block)

#if defined(__GNUC__)
typedef REAL Vector __attribute__((vector_size(32)));
typedef REAL AnyVector __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
#define LANE(vector, i) (vector)[i]
#else
typedef REAL Vector;
typedef REAL AnyVector;
#define LANE(vector, i) (vector)
#endif
#define LANES ((ptrdiff_t)(sizeof(Vector) / sizeof(REAL)))
#define LOAD(address) (*(const AnyVector *)(address))

/* Scores of n_rows rows for n_classes classes, both known when this is compiled. */
TILE void scores_tile(const REAL *const *x, const REAL *w, ptrdiff_t between,
                      ptrdiff_t n_features, int n_rows, int n_classes, REAL *z, ptrdiff_t z_stride,
                      const REAL *next) {
    Vector sums[SCORE_ROWS * SCORE_CLASSES] = {0};
    ptrdiff_t j = 0;
    for (; j + LANES <= n_features; j += LANES) {
        Vector row[SCORE_ROWS];
        FETCH(next + j);
        UNROLLED for (int i = 0; i < n_rows; i++) row[i] = LOAD(x[i] + j);
        UNROLLED for (int k = 0; k < n_classes; k++) {
            Vector weight = LOAD(w + k * between + j);
            UNROLLED for (int i = 0; i < n_rows; i++)
                sums[i * SCORE_CLASSES + k] += row[i] * weight;
        }
    }
    UNROLLED for (int i = 0; i < n_rows; i++)
        UNROLLED for (int k = 0; k < n_classes; k++) {
            REAL sum = 0;
            UNROLLED for (int lane = 0; lane < LANES; lane++)
                sum += LANE(sums[i * SCORE_CLASSES + k], lane);
            z[i * z_stride + k] = sum;
        }
    for (; j < n_features; j++) /* less than a vector */
        UNROLLED for (int i = 0; i < n_rows; i++)
            UNROLLED for (int k = 0; k < n_classes; k++)
                z[i * z_stride + k] += x[i][j] * w[k * between + j];
}

TILE void scores_tiles(const REAL *const *x, const REAL *w, ptrdiff_t between,
                       ptrdiff_t n_features, ptrdiff_t n_classes, int n_rows, REAL *z,
                       ptrdiff_t z_stride, const REAL *const *next) {
    ptrdiff_t k = 0;
    int tile = 0;
    for (; k + SCORE_CLASSES <= n_classes; k += SCORE_CLASSES, tile++)
        scores_tile(x, w + k * between, between, n_features, n_rows, SCORE_CLASSES, z + k,
                    z_stride, next[tile % n_rows]);
    w += k * between, z += k, next += tile % n_rows;
    switch (n_classes - k) {
    case 3: scores_tile(x, w, between, n_features, n_rows, 3, z, z_stride, *next); break;
    case 2: scores_tile(x, w, between, n_features, n_rows, 2, z, z_stride, *next); break;
    case 1: scores_tile(x, w, between, n_features, n_rows, 1, z, z_stride, *next); break;
    }
}

/* Scores of SCORE_ROWS rows or of one, for any number of classes. */
FOR_EVERY_CPU static void scores_block(const REAL *const *x, const REAL *w, ptrdiff_t between,
                                       ptrdiff_t n_features, ptrdiff_t n_classes, int n_rows,
                                       REAL *z, ptrdiff_t z_stride, const REAL *const *next) {
    if (n_rows == SCORE_ROWS)
        scores_tiles(x, w, between, n_features, n_classes, SCORE_ROWS, z, z_stride, next);
    else
        scores_tiles(x, w, between, n_features, n_classes, 1, z, z_stride, next);
}

/* Scores of the first n_rows of rows[0], ..., rows[n_known - 1], or of what became of them: n_rows
   rows side by side in `copy`, unless it is null. */
static void OF_TYPE(rows_scores)(
    const REAL *X, ptrdiff_t stride, const ptrdiff_t *rows, ptrdiff_t n_rows, ptrdiff_t n_known,
    const REAL *copy, const REAL *w, ptrdiff_t between, ptrdiff_t n_features, ptrdiff_t n_classes, REAL *z) {
    const REAL *x[SCORE_ROWS], *next[SCORE_ROWS];
    ptrdiff_t i = 0, ahead = copy ? n_rows : 2 * SCORE_ROWS;
    for (; i + SCORE_ROWS <= n_rows; i += SCORE_ROWS) {
        for (int r = 0; r < SCORE_ROWS; r++) {
            ptrdiff_t later = i + r + ahead;
            x[r] = copy ? copy + (i + r) * n_features : X + rows[i + r] * stride;
            next[r] = X + rows[later < n_known ? later : n_known - 1] * stride;
        }
        scores_block(x, w, between, n_features, n_classes, SCORE_ROWS, z + i * n_classes, n_classes,
                     next);
    }
    for (; i < n_rows; i++) {
        ptrdiff_t later = i + (copy ? n_rows : 1);
        x[0] = copy ? copy + i * n_features : X + rows[i] * stride;
        next[0] = X + rows[later < n_known ? later : n_known - 1] * stride;
        scores_block(x, w, between, n_features, n_classes, 1, z + i * n_classes, n_classes, next);
    }
}

/* Products of the n_rows rows with rows x' that lie side by side, g being (n_rows, n_rows). */
static void OF_TYPE(rows_gram)(const REAL *X, ptrdiff_t stride, const ptrdiff_t *rows,
                               ptrdiff_t n_rows, const REAL *others, ptrdiff_t n_features,
                               REAL *g) {
    const REAL *x[SCORE_ROWS];
    ptrdiff_t i = 0;
    for (; i + SCORE_ROWS <= n_rows; i += SCORE_ROWS) {
        for (int r = 0; r < SCORE_ROWS; r++) x[r] = X + rows[i + r] * stride;
        scores_block(x, others, n_features, n_features, i + SCORE_ROWS, SCORE_ROWS, g + i * n_rows,
                     n_rows, x);
    }
    for (; i < n_rows; i++) {
        x[0] = X + rows[i] * stride;
        scores_block(x, others, n_features, n_features, i + 1, 1, g + i * n_rows, n_rows, x);
    }
}

/* The part of the update that belongs to n_rows rows and n_classes classes, both known when this
   is compiled. */
TILE void update_tile(const REAL *const *x, REAL *w, ptrdiff_t between, ptrdiff_t n_features,
                      int n_rows, int n_classes, REAL decay, const REAL *s, ptrdiff_t s_stride,
                      const REAL *next) {
    REAL factor[UPDATE_ROWS * UPDATE_CLASSES]; /* a copy that no weight can alias */
    ptrdiff_t j = 0;
    for (int i = 0; i < n_rows; i++)
        for (int k = 0; k < n_classes; k++) factor[i * UPDATE_CLASSES + k] = s[i * s_stride + k];
    for (; j + LANES <= n_features; j += LANES) {
        Vector row[UPDATE_ROWS];
        FETCH(next + j);
        UNROLLED for (int i = 0; i < n_rows; i++) row[i] = LOAD(x[i] + j);
        UNROLLED for (int k = 0; k < n_classes; k++) {
            Vector weight = decay * LOAD(w + k * between + j);
            UNROLLED for (int i = 0; i < n_rows; i++)
                weight -= factor[i * UPDATE_CLASSES + k] * row[i];
            *(AnyVector *)(w + k * between + j) = weight;
        }
    }
    for (; j < n_features; j++)
        for (int k = 0; k < n_classes; k++) {
            REAL weight = decay * w[k * between + j];
            for (int i = 0; i < n_rows; i++) weight -= factor[i * UPDATE_CLASSES + k] * x[i][j];
            w[k * between + j] = weight;
        }
}

TILE void update_block(const REAL *const *x, REAL *w, ptrdiff_t between, ptrdiff_t n_features,
                       ptrdiff_t n_classes, int n_rows, REAL decay, const REAL *s, const REAL *const *next) {
    ptrdiff_t k = 0;
    int tile = 0;
    for (; k + UPDATE_CLASSES <= n_classes; k += UPDATE_CLASSES, tile++)
        update_tile(x, w + k * between, between, n_features, n_rows, UPDATE_CLASSES, decay, s + k,
                    n_classes, next[tile % n_rows]);
    w += k * between, s += k, next += tile % n_rows;
    switch (n_classes - k) {
    case 4:
        update_tile(x, w, between, n_features, n_rows, 4, decay, s, n_classes, *next);
        break;
    case 3:
        update_tile(x, w, between, n_features, n_rows, 3, decay, s, n_classes, *next);
        break;
    case 2:
        update_tile(x, w, between, n_features, n_rows, 2, decay, s, n_classes, *next);
        break;
    case 1:
        update_tile(x, w, between, n_features, n_rows, 1, decay, s, n_classes, *next);
        break;
    }
}

/* The update for the first n_rows of rows[0], ..., rows[n_known - 1]; those after them, the next
   batch, are fetched. */
FOR_EVERY_CPU static void OF_TYPE(rows_update)(
    const REAL *X, ptrdiff_t stride, const ptrdiff_t *rows, ptrdiff_t n_rows, ptrdiff_t n_known,
    REAL *w, ptrdiff_t between, ptrdiff_t n_features, ptrdiff_t n_classes, REAL decay,
    const REAL *s) {
    const REAL *x[UPDATE_ROWS], *next[UPDATE_ROWS];
    ptrdiff_t i = 0;
    for (; i + UPDATE_ROWS <= n_rows; i += UPDATE_ROWS) {
        for (int r = 0; r < UPDATE_ROWS; r++) {
            ptrdiff_t later = i + r + n_rows;
            x[r] = X + rows[i + r] * stride;
            next[r] = X + rows[later < n_known ? later : n_known - 1] * stride;
        }
        update_block(x, w, between, n_features, n_classes, UPDATE_ROWS, decay, s + i * n_classes,
                     next);
        decay = 1; /* once an update */
    }
    for (; i < n_rows; i++) {
        x[0] = X + rows[i] * stride;
        update_block(x, w, between, n_features, n_classes, 1, decay, s + i * n_classes, x);
        decay = 1;
    }
}

/* Rows less a centre, side by side, and S times that; either may be null. Scores of few classes
   have not fetched all of the rows: here a row is fetched while some before it are centred. */
FOR_EVERY_CPU static void OF_TYPE(rows_centred)(
    const REAL *X, ptrdiff_t stride, const ptrdiff_t *rows, ptrdiff_t n_rows,
    const REAL *centre, const REAL *pace, ptrdiff_t n_features, REAL *centred, REAL *scaled) {
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const REAL *x = X + rows[i] * stride;
        ptrdiff_t later = i + SCORE_ROWS;
        const REAL *next = X + rows[later < n_rows ? later : n_rows - 1] * stride;
        ptrdiff_t j = 0;
        for (; j + LANES <= n_features; j += LANES) {
            FETCH(next + j);
            Vector away = LOAD(x + j) - LOAD(centre + j);
            if (centred) *(AnyVector *)(centred + j) = away;
            if (scaled) *(AnyVector *)(scaled + j) = LOAD(pace + j) * away;
        }
        for (; j < n_features; j++) {
            REAL away = x[j] - centre[j];
            if (centred) centred[j] = away;
            if (scaled) scaled[j] = pace[j] * away;
        }
        if (centred) centred += n_features;
        if (scaled) scaled += n_features;
    }
}

#undef Vector
#undef AnyVector
#undef scores_tile
#undef scores_tiles
#undef scores_block
#undef update_tile
#undef update_block
#undef LANE
#undef LANES
#undef LOAD

#endif
