# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""What the compiled modules share: inline functions of one row, and products of dense rows."""

from cython cimport floating
from libc.math cimport exp, log, logf
from libc.stdint cimport int32_t, int64_t

ctypedef fused index_t:
    int32_t
    int64_t


cdef inline bint narrow(array):
    """Whether numbers are float or int32_t; they are taken for double or int64_t otherwise."""
    return array.itemsize == 4


cdef extern from *:
    """
    #if defined(__GNUC__)
    #define skl_softmax_prefetch(address) __builtin_prefetch((address), 1)
    #else
    #define skl_softmax_prefetch(address)
    #endif
    """
    void prefetch "skl_softmax_prefetch"(const void *address) noexcept nogil

# The return type of functions that glibc picks at load time in a version for CPUs with AVX2 or for
# all others, each with what is inlined into it.
cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && __GNUC__ >= 12
    #define skl_softmax_cloned __attribute__((target_clones("arch=x86-64-v3", "default"))) void
    #else
    #define skl_softmax_cloned void
    #endif
    """
    ctypedef void for_every_cpu "skl_softmax_cloned"

# Polynomials without a branch, which compilers turn into code for whole vectors of classes as they
# cannot do with expf and logf. The coefficients are least-squares fits of the relative error at
# Chebyshev nodes: 2^f on [-1/2, 1/2] to 2e-9, log(1 + f) on [sqrt(1/2), sqrt(2)] - 1 to 3e-8.
# NaN stays NaN. `fast_exp` takes x <= 0 and gives 0 below -80, never a subnormal number (slow);
# `fast_log` takes normal positive numbers. A float of an int of a float would become a rounding
# instruction, and a loop that has one in a branch stays without vectors in GCC.
cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline float skl_softmax_exp(float x) {
        float t = (x < -80.0f ? -80.0f : x) * 1.44269504f, f, power;
        int32_t bits = ((int32_t)(t - 0.5f) + 127) * (1 << 23);
        f = t - (float)((bits >> 23) - 127); /* no float of an int of a float */
        memcpy(&power, &bits, 4);
        power *= (1.0f + f * (0.693147206f + f * (0.240226485f + f * (0.0555032904f
            + f * (0.00961837325f + f * (0.00133998483f + f * 0.000153707048f))))));
        return x < -80.0f ? 0.0f : power;
    }
    static inline float skl_softmax_log(float x) {
        int32_t bits, whole;
        float f;
        memcpy(&bits, &x, 4);
        whole = (bits - 0x3f3504f3) >> 23;
        bits -= whole * (1 << 23);
        memcpy(&f, &bits, 4);
        f -= 1.0f;
        return (float)whole * 0.693147181f + (f + f * f * (-0.49999999f + f * (0.33333972f
            + f * (-0.250010305f + f * (0.199606605f + f * (-0.165868307f + f * (0.149493299f
            + f * (-0.142037743f + f * 0.085185411f))))))));
    }
    """
    float fast_exp "skl_softmax_exp"(float x) noexcept nogil
    float fast_log "skl_softmax_log"(float x) noexcept nogil


cdef inline floating highest(const floating *z, Py_ssize_t n) noexcept nogil:
    """``max(z)``, by four running maxima, since each comparison has to wait for the one before."""
    cdef Py_ssize_t k
    cdef floating a = z[0], b = z[0], c = z[0], d = z[0]
    for k in range(0, n - 3, 4):
        a = z[k] if z[k] > a else a
        b = z[k + 1] if z[k + 1] > b else b
        c = z[k + 2] if z[k + 2] > c else c
        d = z[k + 3] if z[k + 3] > d else d
    for k in range(n - n % 4, n):
        a = z[k] if z[k] > a else a
    return max(max(a, b), max(c, d))


cdef inline void fetch(const floating *row, Py_ssize_t n) noexcept nogil:
    """Ask for a row of n numbers, by one number a cache line and the last."""
    cdef Py_ssize_t k = 0, line = 64 // sizeof(floating)
    while k < n - line:
        prefetch(&row[k])
        k += line
    prefetch(&row[n - 1])


cdef inline double softmax_residual(
    floating *z, Py_ssize_t n_classes, Py_ssize_t label, floating weight
) noexcept nogil:
    """Scores ``z`` become ``weight * (S(z) - y)``; returns ``weight * CE``."""
    cdef Py_ssize_t k
    cdef floating top = highest(z, n_classes), total = 0, z_label, share
    z_label = z[label] - top
    for k in range(n_classes):
        z[k] = fast_exp(z[k] - top) if floating is float else exp(z[k] - top)
        total += z[k]
    share = weight / total
    for k in range(n_classes):
        z[k] *= share
    z[label] -= weight
    return weight * ((logf(total) if floating is float else log(total)) - z_label)


# Products of dense rows with class-major weights; `_dense_rows.h` says what they compute. Scores
# are those of the rows of X, or of what became of them in a copy of the block.
cdef void rows_scores(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    Py_ssize_t n_known, const floating *coef, Py_ssize_t between, Py_ssize_t n_features,
    Py_ssize_t n_classes, floating *scores,
) noexcept nogil

cdef void copied_scores(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    Py_ssize_t n_known, const floating *copy, const floating *coef, Py_ssize_t between,
    Py_ssize_t n_features, Py_ssize_t n_classes, floating *scores,
) noexcept nogil

cdef void rows_update(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    Py_ssize_t n_known, floating *coef, Py_ssize_t between, Py_ssize_t n_features,
    Py_ssize_t n_classes, floating decay, const floating *steps,
) noexcept nogil

cdef void rows_gram(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    const floating *others, Py_ssize_t n_features, floating *gram,
) noexcept nogil

cdef void rows_centred(
    const floating *X, Py_ssize_t stride, const Py_ssize_t *rows, Py_ssize_t n_rows,
    const floating *centre, const floating *pace, Py_ssize_t n_features, floating *centred,
    floating *scaled,
) noexcept nogil
