"""`SoftmaxSGDClassifier`: the parameters, the documentation and the methods, all of them thin."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from skl_softmax import _alpha, _fit, _partial_fit, _state, _validation
from skl_softmax._online import OnlineStream
from skl_softmax._optimum import MeasuredRows, OptimumFit
from skl_softmax._parameters import OverflowedError, Parameters
from skl_softmax._penalties import Penalty, make_penalty
from skl_softmax._rows import Problem, Rows
from skl_softmax._softmax import Floats, log_softmax, softmax
from skl_softmax._state import State
from skl_softmax._textbook import (
    SGD,
    Adagrad,
    Adam,
    DivergedError,
    Method,
    Solver,
    Steps,
    TextbookFit,
    TextbookStream,
)
from skl_softmax._validation import all_or_nothing, fit_context

_AUTO_BATCH = 256


class SoftmaxSGDClassifier(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression (softmax regression) trained by mini-batch SGD.

    Minimises, over weights ``W`` (n_features x n_classes) and intercepts ``b``, the weighted mean
    cross-entropy of the labels under a softmax of linear scores, plus a penalty::

        F(W, b) = sum_i s_i [logsumexp(z_i) - z_i[y_i]] / sum_i s_i + alpha * R(W),  z_i = x_i W + b
        R(W) = (1 - l1_ratio) / 2 * ||W||_2^2 + l1_ratio * ||W||_1

    by the batch weight update ``W <- W - eta * (1/B) * sum_i x_i^T (S(z_i) - y_i)`` with the
    softmax ``S`` and one-hot labels ``y_i``. By default ``fit`` chooses the strength of the penalty
    and its steps by itself, needs no scaled features, and stops when the optimum is known to be
    nearer than ``tol``. The optimum is that of ``LogisticRegression(C=1 / (alpha_ * sum(s)))``,
    also for two classes. Unlike `sklearn.linear_model.SGDClassifier` with ``loss="log_loss"``,
    which fits one binary model a class, the classes share one likelihood, so the probabilities need
    no normalising.

    Dense rows and sparse (CSR) rows are used as they are: nothing copies, densifies or scales X.

    Parameters
    ----------
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
        The penalty ``R``. "l1" and "elasticnet" give weights that are exactly zero. The intercept
        is never penalised.

    alpha : float or "auto", default="auto"
        Strength of the penalty, in ``[0, inf)``; 0 is the same as ``penalty=None``. With "auto"
        ``fit`` chooses the one of the least log-loss on rows that are held out, and then fits all
        rows with it: those of ``X_val`` or ``early_stopping`` if there are any; else a fifth of the
        rows, every row of a few in turn, or, of up to 1500 rows and few weights, each one alone. It
        takes about as long as two more fits. What is chosen depends on the rows as a set of
        weighted ones alone, neither on their order nor on ``random_state``, and equal rows are held
        out together. Rows that belong together otherwise, in groups or in time, need an ``X_val``.
        Other solvers, and ``partial_fit``, take "auto" for 1e-5.

    l1_ratio : float or None, default=0.15
        Mix of the "elasticnet" penalty, in ``[0, 1]``; other penalties do not read it.

    fit_intercept : bool, default=True
        Whether to learn intercepts. If False they are zero.

    solver : {"auto", "sgd", "adagrad", "adam"}, default="auto"
        How a batch gradient becomes an update; see the table in Notes.

        - "auto": no parameter to choose. ``fit`` reaches the optimum, whatever the scale of the
          features: by updates with a remembered target, row by row (dual ascent [4]_), and, where
          these become slow and there are at most 2000 features or, with l2, rows, by Newton's
          method. Models of up to 128 weights are Newton's alone, and so is one batch of rows with
          few features. ``partial_fit`` is Adagrad [2]_ on batches of 32 rows, on features that are
          standardised by what it has seen of them, so that their scale does not matter; it returns
          the blend of the last and the averaged iterate that would have predicted the rows best
          before it learnt them.
        - "sgd": the textbook update.
        - "adagrad": in a diagonal metric of the gradients met so far [2]_.
        - "adam": with running means of the gradients and their squares [3]_.

    batch_size : int or "auto", default="auto"
        Rows an update, at least 1. "auto" is 256. A data set with fewer rows is one batch. The last
        batch of a pass may be short: its gradient is the mean over its own rows, and its step is
        scaled by its share of ``batch_size``. In ``partial_fit`` with "auto" it is the rows that
        are standardised together, at most 256, and an update has 32 of them.

    max_iter : int, default=200
        Most passes over the rows (epochs) that ``fit`` makes, at least 1.

    tol : float or None, default=1e-3
        With "auto", ``fit`` stops when ``gap_``, how far the objective may be above the optimum,
        relative to the objective, is at most ``tol``. Separable classes may have next to nothing to
        gain from that: so it stops too when the objective itself is below ``tol``, without a
        penalty at once, with one when it has come to rest or is below ``1e-3 * tol``. With other
        solvers, and with ``early_stopping``, it stops when the objective (the validation loss) has
        not fallen below its best value by ``tol`` for ``n_iter_no_change`` epochs in a row that
        make at least 100 updates. In ``[0, inf)``. None makes all ``max_iter`` epochs, without a
        warning.

    shuffle : bool, default=True
        Whether every pass visits the rows in a new random order. "auto" always does in ``fit``.

    learning_rate : {"auto", "constant", "optimal", "invscaling", "adaptive"}, default="auto"
        The step ``eta`` of update number t:

        - "auto": one over the expected smoothness of the objective on this data at this batch size
          [1]_, so no data set diverges; a chunk of a stream that is rougher than those before it
          shortens the step.
        - "constant": ``eta0``.
        - "optimal": ``1 / (alpha * (t0 + t - 1))`` with Bottou's ``t0``; with ``alpha=0``, "auto".
        - "invscaling": ``eta0 / t ** power_t``.
        - "adaptive": ``eta0``, divided by 5 whenever ``fit`` would stop, until it is below 1e-6.

    eta0 : float, default=0.01
        Initial step, in ``(0, inf)``. A step that is too long for the data ends in an error that
        says so: in ``fit`` where the parameters overflow, or where the objective of what it would
        return is above ten times the larger of that at the start and that at zero, log K; in
        ``partial_fit`` where they overflow.

    power_t : float, default=0.5
        Exponent of "invscaling", in ``[0, inf)``.

    momentum : float, default=0.0
        Share of the last displacement that is added to the next, in ``[0, 1)``.

    nesterovs_momentum : bool, default=True
        Whether momentum is Nesterov's (the gradient is taken ahead of the iterate).

    average : bool or int, default=False
        True: ``coef_`` and ``intercept_`` are the mean over all updates. An int starts the mean at
        that update.

    half_life : float or None, default=None
        Rows after which ``partial_fit`` with "auto" has forgotten half of the statistics by which
        it scales the features, shortens its steps and averages, in ``(0, inf)``. None forgets none:
        the best where the classes do not drift, and on streams that drift as slowly as prices or
        network traffic. Where they turn all the time, about as many rows as it takes helps.

    early_stopping : bool, default=False
        Whether ``fit`` watches the loss on a validation set in place of the objective, and returns
        the parameters of the best epoch. The set is ``X_val, y_val`` if given, otherwise a
        stratified ``validation_fraction`` of the rows, on which the model is then not trained.

    validation_fraction : float, default=0.1
        Share of the rows held out, in ``(0, 1)``.

    n_iter_no_change : int, default=5
        Epochs without progress before ``fit`` stops, at least 1.

    class_weight : dict {label: weight}, "balanced" or None, default=None
        Factor of the weights of a class's rows. "balanced" gives every class the same total weight.
        In ``partial_fit`` it is the total weight of all rows so far, ``fit`` included, over that of
        the class's times the number of classes met; the rows of a batch count in it.

    new_classes : {"error", "add"}, default="error"
        What ``partial_fit`` does with a label that is not among the classes. "add" gives the label
        a new column; ``classes`` may be left out, and a stream may begin with a single class. After
        n rows a new class begins with a share of at most about 1 / (n + 1) of any row (without
        intercept: 1 / n_classes), and that is all that other probabilities lose. ``fit`` does not
        read it.

    warm_start : bool, default=False
        Whether ``fit`` starts from the parameters of the last one instead of zeros. The classes
        must be the same.

    random_state : int, RandomState instance or None, default=None
        Orders the rows and draws the validation set. `partial_fit` keeps one generator over all
        calls.

    verbose : int, default=0
        If positive, ``fit`` prints a line an epoch.

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_features) or (1, n_features)
        Weights ``W^T``; for two classes those of the second over the first. Float32 if X is. Zero
        where a stream has met one class only.

    intercept_ : ndarray of shape (n_classes,) or (1,)
        Intercepts ``b``.

    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.

    alpha_ : float
        Strength of the penalty that ``fit`` used, or the first ``partial_fit``.

    alphas_ : ndarray of shape (n_alphas,)
        The strengths that ``fit`` tried, from strong to weak; none with fewer than 10 distinct
        rows. Only with ``alpha="auto"`` and the solver "auto", as ``alpha_losses_``.

    alpha_losses_ : ndarray of shape (n_alphas,)
        Mean log-loss of the held-out rows for each of ``alphas_``, of rough fits; nan where a fit
        was given up as the loss rose.

    n_iter_ : int
        Epochs that the last ``fit`` made, at least 1; 1 after ``partial_fit``.

    t_ : int
        Updates made since ``fit`` began or the first ``partial_fit``.

    loss_curve_ : list of float
        Objective met in each of the ``n_iter_`` epochs: the mean loss that the rows had when their
        batch was visited, plus the mean penalty at that time.

    gap_ : float
        How far the objective may be above the optimum, relative to the objective. With a penalty it
        is a bound, a duality gap; with ``penalty=None`` an estimate, of which the truth is at most
        3 times as much. Only after ``fit`` with "auto" and without ``early_stopping``. For columns
        of deviation s rounding leaves no bound below the default ``tol`` where ``alpha`` is below
        about 1e-29 s^2 (l1: 1e-10 s) in float64, 1e-11 s^2 (l1: 1e-6 s) in float32.

    validation_loss_curve_ : list of float
        Mean cross-entropy on the validation set after each epoch. Only with such a set.

    best_loss_ : float
        Smallest of ``validation_loss_curve_``. Only with a validation set.

    best_iter_ : int
        Its epoch, from 1; with ``early_stopping``, that of ``coef_``. Only with a validation set.

    n_features_in_ : int
        Number of features seen in ``fit``.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had names that are all strings.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The same model by batch solvers, no ``partial_fit``.
    sklearn.linear_model.SGDClassifier : One-vs-rest linear models by SGD.
    sklearn.neural_network.MLPClassifier : With ``hidden_layer_sizes=()``, dense gradients, l2 only.

    Notes
    -----
    What each solver reads (a parameter that it does not read has no effect), which penalties it
    takes, and the cost of an update on a batch with ``nnz`` non-zeros (dense: all entries):

    ========= ======================================================= ========= ====================
    solver    reads                                                   penalties cost (K classes)
    ========= ======================================================= ========= ====================
    "auto"    ``batch_size``, ``half_life`` (``partial_fit``)         all       nnz K
    "sgd"     ``batch_size``, ``learning_rate``, ``momentum``,        all       nnz K; with momentum
              ``average``; ``eta0`` ("constant", "invscaling",                  n_features K
              "adaptive"), ``power_t`` ("invscaling"),
              ``nesterovs_momentum`` (``momentum > 0``)
    "adagrad" ``batch_size``, ``eta0``                                all       nnz K
    "adam"    ``batch_size``, ``eta0``                                all       n_features K
    ========= ======================================================= ========= ====================

    ``fit`` with "auto" makes an update a row, whatever ``batch_size`` says, unless all rows are one
    batch. On dense rows an update also costs n_features K. Sparse and dense rows give the same
    updates, up to rounding; with "auto" the same optimum within ``tol``.

    Rows of weight zero count as removed. ``fit`` divides weights by their mean, so that their scale
    does not matter; ``partial_fit`` takes them as given.

    Memory beyond X: O(n_features K) numbers, O(1) a row, and one batch. ``fit`` with "auto" holds
    K numbers a row; where Newton's method takes over, 4 K a row and (K + 2) n_features^2. Streams
    with "auto" keep 2 K numbers and 64 bytes a feature, K more after a ``fit``, whatever the rows.

    References
    ----------
    .. [1] Gower et al., "SGD: General Analysis and Improved Rates", ICML 2019, arXiv:1901.09401.
    .. [2] Duchi, Hazan & Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12, 2011.
    .. [3] Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980.
    .. [4] Shalev-Shwartz & Zhang, "Accelerated Proximal Stochastic Dual Coordinate Ascent for
       Regularized Loss Minimization", Mathematical Programming 155, 2016, arXiv:1309.2375.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skl_softmax import SoftmaxSGDClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxSGDClassifier(random_state=0).fit(X, y)
    >>> clf.predict(X[:2])
    array([0, 0])
    >>> clf.predict_proba(X[:2]).shape
    (2, 3)
    >>> bool(clf.score(X, y) > 0.9)
    True
    """

    coef_: Any
    intercept_: Floats
    _state: Any  # State, or what a pickle of an unknown format holds

    _parameter_constraints = _validation.PARAMETER_CONSTRAINTS

    def __init__(
        self,
        *,
        penalty: str | None = "l2",
        alpha: float | str = "auto",
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        solver: str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        learning_rate: str = "auto",
        eta0: float = 0.01,
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterovs_momentum: bool = True,
        average: bool | int = False,
        half_life: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: dict[Any, float] | str | None = None,
        new_classes: str = "error",
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.average = average
        self.half_life = half_life
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.new_classes = new_classes
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        coef_init: Any = None,
        intercept_init: Any = None,
    ) -> Self:
        """Fit the model by passes over the rows, forgetting earlier fits unless ``warm_start``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows. Float32 and float64 are computed in as they are, anything else becomes
            float64; sparse formats other than CSR are converted once. Values must be at most 1e150
            in float64, 1e18 in float32, so that their squares can be summed. With ``solver="auto"``
            a column with a deviation below 1e-150, in float32 1e-19, counts as constant.
        y : array-like of shape (n_samples,)
            Labels, of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0 and not all 0; None means 1.
        X_val, y_val : like X and y, default=None
            Validation set, its labels among those of y.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the validation rows.
        coef_init : array-like of the shape of ``coef_``, default=None
            Weights to start from.
        intercept_init : array-like of the shape of ``intercept_``, default=None
            Intercepts to start from.

        Returns
        -------
        self : SoftmaxSGDClassifier
            The fitted model.

        Raises
        ------
        ValueError
            If an argument or parameter is invalid, or if steps that were too long made the
            parameters overflow or the objective rise; see ``eta0``. A model that was fitted before
            is then unchanged.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` epochs were not enough to stop by ``tol``; with "auto" the optimum is
            then not certified to ``tol``, and the warning names ``gap_``, which is above it.
        """
        rng = check_random_state(self.random_state)
        with all_or_nothing(self), _state.rewound_on_failure(rng):
            _validation.check_parameters(self)
            earlier = vars(self).copy() if self.warm_start and hasattr(self, "coef_") else {}
            problem = _validation.check_fit(
                self, X, y, sample_weight, X_val, y_val, sample_weight_val, rng
            )
            self.classes_ = problem.classes
            if earlier:
                _validation.check_same_classes(earlier["classes_"], problem.classes)
                coef_init = earlier["coef_"] if coef_init is None else coef_init
                intercept_init = earlier["intercept_"] if intercept_init is None else intercept_init
            coef, intercept = _validation.check_init(problem, coef_init, intercept_init)
            state = State(
                rng,
                n_rows=len(problem.data.rows),
                class_counts=problem.class_counts,
                checked=_validation.fingerprint_of(self),
            )
            budget = _fit.Budget(
                max_iter=self.max_iter,
                tol=self.tol,
                n_iter_no_change=self.n_iter_no_change,
                stop_on_validation=self.early_stopping,
                verbose=self.verbose,
            )
            if coef_init is not None:
                problem = replace(problem, data=replace(problem.data, from_zero=False))
            with self._divergence_explained():
                self._choose_alpha(problem)
                learner = self._learner(problem, lambda: self._parameters(coef, intercept), state)
                fitted = _fit.fit(learner, problem.validation, budget)
            self._publish(fitted.params, fitted.state, fitted.loss_curve)
            if fitted.gap is not None:
                self.gap_ = fitted.gap
            if problem.validation is not None:
                self.validation_loss_curve_ = fitted.validation_loss_curve
                self.best_loss_, self.best_iter_ = fitted.best_loss, fitted.best_iter
        # What is returned was measured last, and may be nearer than the epochs before it knew.
        gap = np.inf if fitted.gap is None else fitted.gap
        if self.tol is not None and not fitted.converged and gap > self.tol:
            if fitted.gap is None:
                found = (
                    f"was still making progress of tol={self.tol:g} within n_iter_no_change="
                    f"{self.n_iter_no_change} epochs and 100 updates. Increase max_iter or tol, "
                    "scale the features, or decrease batch_size."
                )
            else:
                found = (
                    f"the optimum is not certified to tol={self.tol:g}: the objective may still be "
                    f"gap_={gap:.2g} (relative) above it. Increase max_iter or tol."
                )
            warnings.warn(
                f"fit made max_iter={self.max_iter} epochs and {found}",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go on from the present parameters with one pass over a chunk of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; computed in the dtype of the first chunk. Values must be at most 1e100 with
            "auto", else as in `fit`.
        y : array-like of shape (n_samples,)
            Labels among the classes, or any with ``new_classes="add"``. Unless the rows are
            shuffled, a class then begins with the batch of its first row of non-zero weight.
        classes : array-like of shape (n_classes,), default=None
            All classes of the stream; needed on the first call, optional later. With
            ``new_classes="add"`` optional, and any that are new are added.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0, used as given; a chunk whose weights are all 0 changes nothing.

        Returns
        -------
        self : SoftmaxSGDClassifier
            The model after the chunk.

        Raises
        ------
        ValueError
            If an argument or parameter is invalid, if a step that was too long made the parameters
            overflow, or if the model was pickled by a version whose format this one does not know.
            The model is then as it was before the call.
        KeyboardInterrupt
            With "auto" the model has then learnt the batches that were complete and can be used;
            with other solvers it is as it was before the call.
        """
        with all_or_nothing(self):
            parameters = _validation.fingerprint_of(self)
            if hasattr(self, "coef_"):
                _validation.check_state(self)
                if parameters != self._state.checked:
                    self._validate_params()  # scikit-learn itself checks on the first call only
            _validation.check_parameters(self)
            parts = _validation.check_partial_fit(
                self, X, y, classes, sample_weight, self._batch_size()
            )
            if not parts:
                return self
            if not hasattr(self, "coef_"):
                self._begin_stream(parts[0])
            coef = self.coef_.toarray() if sp.issparse(self.coef_) else self.coef_
            params = self._parameters(np.asarray(coef, parts[0].dtype), self.intercept_)
            with self._divergence_explained():
                found = _partial_fit.partial_fit(
                    self._stream, parts, self.classes_, params, self._state
                )
            if found is None:
                return self
            learnt, self.classes_ = found
            learnt.state.checked = parameters
            self._publish(learnt.params, learnt.state, [learnt.objective])
        if learnt.interrupt is not None:
            raise learnt.interrupt  # now that what was learnt until then is kept
        return self

    def decision_function(self, X: Any) -> Floats:
        """Linear scores ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            One score a class; for two classes the log-odds of the second, of shape (n_samples,).
        """
        check_is_fitted(self, "coef_")
        X = _validation.check_predict(self, X)
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return scores.ravel() if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Label with the highest score.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        scores = self.decision_function(X)
        codes = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[codes]

    def predict_proba(self, X: Any) -> Floats:
        """Softmax of the scores.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities of ``classes_``; rows sum to one.
        """
        with np.errstate(over="ignore"):  # scores further apart than the largest float
            return softmax(_one_score_a_class(self.decision_function(X)))

    def predict_log_proba(self, X: Any) -> Floats:
        """Log-softmax of the scores: finite also where a probability underflows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Natural logarithms of the probabilities of ``classes_``.
        """
        with np.errstate(over="ignore"):  # scores further apart than the largest float
            log_proba = log_softmax(_one_score_a_class(self.decision_function(X)))
        return np.maximum(log_proba, np.finfo(log_proba.dtype).min)

    def sparsify(self) -> Self:
        """Turn ``coef_`` into a sparse matrix, which saves memory where l1 has made it mostly zero.

        Prediction, ``partial_fit`` and ``fit`` go on working.

        Returns
        -------
        self : SoftmaxSGDClassifier
            The model.
        """
        check_is_fitted(self, "coef_")
        return _validation.sparse_coef_mixin().sparsify(self)

    def densify(self) -> Self:
        """Turn ``coef_`` back into an array, undoing `sparsify`.

        Returns
        -------
        self : SoftmaxSGDClassifier
            The model.
        """
        check_is_fitted(self, "coef_")
        return _validation.sparse_coef_mixin().densify(self)

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: of `State` a plain dictionary, which later versions can read."""
        attributes = dict(super().__getstate__())
        if isinstance(attributes.get("_state"), State):
            attributes["_state"] = attributes["_state"].stored()
        return attributes

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        super().__setstate__(attributes)
        if isinstance(attributes.get("_state"), dict):
            self._state = _state.load(attributes["_state"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _batch_size(self) -> int:
        return _AUTO_BATCH if self.batch_size == "auto" else int(self.batch_size)

    def _parameters(self, coef: Floats, intercept: Floats) -> Parameters:
        """A copy to work on; without ``fit_intercept`` the intercept is zero in any case."""
        intercept = intercept if self.fit_intercept else np.zeros_like(intercept)
        return Parameters.of(coef, intercept, one_class=len(self.classes_) == 1)

    def _begin_stream(self, problem: Problem) -> None:
        """Zeros, for the first chunk to go on from."""
        self.classes_ = problem.classes
        params = self._parameters(*_validation.check_init(problem, None, None))
        self.alpha_ = self._given_alpha()
        state = State(
            check_random_state(self.random_state), class_counts=np.zeros(len(problem.classes))
        )
        self._publish(params, state, [])

    def _learner(
        self, problem: Problem, start: Callable[[], Parameters], state: State
    ) -> _fit.Learner:
        """What `fit` drives."""
        n_classes, size = len(problem.classes), self._batch_size()
        if self.solver == "auto":
            penalty = self._penalty(n_classes, self.alpha_)
            rows = MeasuredRows.of(problem.data, self.fit_intercept, size)
            return OptimumFit(rows, penalty, start(), state, self.tol)
        method = self._method(n_classes, min(size, len(problem.data.rows)), self.alpha_)
        return TextbookFit(method, start, state, problem.data)

    def _stream(self, n_classes: int) -> _partial_fit.Stream:
        """What `partial_fit` drives."""
        size, alpha = self._batch_size(), self._given_alpha()
        if self.solver == "auto":
            return OnlineStream(
                self._penalty(n_classes, alpha),
                self.fit_intercept,
                self.half_life,
                size,
                self.shuffle,
            )
        return TextbookStream(self._method(n_classes, size, alpha))

    def _choose_alpha(self, problem: Problem) -> None:
        """Set ``alpha_``, and what it was chosen by."""
        for name in ("alphas_", "alpha_losses_"):
            self.__dict__.pop(name, None)
        self.alpha_ = self._given_alpha()
        if self.alpha != "auto" or self.solver != "auto":
            return
        n_classes, size = len(problem.classes), self._batch_size()

        def penalty(alpha: float) -> Penalty:
            return self._penalty(n_classes, alpha)

        def prepare(data: Rows) -> Callable[[float], OptimumFit]:
            rows = MeasuredRows.of(data, self.fit_intercept, size)

            def fit(alpha: float) -> OptimumFit:
                shape, dtype = (data.X.shape[1], n_classes), data.X.dtype
                zeros = Parameters(np.zeros(shape, dtype), np.zeros(n_classes, dtype))
                state = State(check_random_state(0), n_rows=len(data.rows))
                return OptimumFit(rows, penalty(alpha), zeros, state, None)

            return fit

        chosen = _alpha.choose(problem, self.fit_intercept, prepare, penalty, bool(self.verbose))
        self.alpha_ = chosen.alpha
        self.alphas_ = np.array(list(chosen.tried))
        self.alpha_losses_ = np.array(list(chosen.tried.values()))

    def _given_alpha(self) -> float:
        """The strength where none is searched."""
        return _alpha.DEFAULT if self.alpha == "auto" else float(self.alpha)

    def _penalty(self, n_classes: int, alpha: float) -> Penalty:
        return make_penalty(self.penalty, alpha, self.l1_ratio, n_classes)

    def _method(self, n_classes: int, batch_size: int, alpha: float) -> Method:
        """What the parameters say about turning rows into updates."""
        penalty = self._penalty(n_classes, alpha)
        solver: Solver
        schedule = "constant"
        if self.solver == "adagrad":
            solver = Adagrad(penalty, self.fit_intercept)
        elif self.solver == "adam":
            solver = Adam(penalty, self.fit_intercept)
        else:
            schedule = self.learning_rate
            solver = SGD(
                penalty,
                self.fit_intercept,
                momentum=self.momentum,
                nesterov=self.nesterovs_momentum,
                average_from=int(self.average) or None,
            )
        steps = Steps(float(self.eta0), float(self.power_t), alpha)
        return Method(solver, schedule, steps, batch_size, self.shuffle)

    @contextmanager
    def _divergence_explained(self) -> Iterator[None]:
        """Say what happened, by which step, and what to do."""
        try:
            yield
        except (OverflowedError, DivergedError) as error:
            found = str(error)
        else:
            return
        if self.solver == "auto":
            raise ValueError(
                f"{found}: the values or the weights of these rows, or the parameters to start "
                "from, are too large. Scale the features (for example with StandardScaler) or "
                "sample_weight."
            )
        read, remedy = [], "Scale"
        if self.solver == "sgd":
            read.append(f"learning_rate={self.learning_rate!r}")
        if self.solver != "sgd" or self.learning_rate not in ("auto", "optimal"):
            read.append(f"eta0={self.eta0:g}")
            remedy = "Use a smaller eta0, scale"
        raise ValueError(
            f"{found}: the step of solver={self.solver!r} with {' and '.join(read)} is too long "
            f"for this data. {remedy} the features (for example with StandardScaler), or choose "
            "solver='auto', which derives its step from the data."
        )

    def _publish(self, params: Parameters, state: State, loss_curve: list[float]) -> None:
        """Set the fitted attributes; those that not every fit has belong to another one now."""
        for name in ("validation_loss_curve_", "best_loss_", "best_iter_", "gap_"):
            self.__dict__.pop(name, None)
        self.coef_, self.intercept_ = params.public()
        self.t_ = state.t
        self.n_iter_ = max(1, len(loss_curve))
        self.loss_curve_ = loss_curve
        self._state = state


def _one_score_a_class(scores: Floats) -> Floats:
    return scores if scores.ndim == 2 else np.column_stack([np.zeros_like(scores), scores])
