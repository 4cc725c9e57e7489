"""The layers of the package: imports run downwards, and scikit-learn stays in its modules."""

from graphlib import TopologicalSorter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SKLEARN_MODULES = {"_classifier", "_validation"}
PRIVATE_SKLEARN_MODULES = {"_validation"}
# The formulas are read by newcomers, who need to know nothing but NumPy.
ONLY = {"_softmax": {"numpy", "scipy", "typing"}}


def load_module_map():
    """Return the script that draws the map; it is no part of a package."""
    spec = spec_from_file_location("module_map", ROOT / "docs" / "module_map.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


module_map = load_module_map()
SOURCES = module_map.sources()
LAYER = {name: place for place, layer in enumerate(module_map.LAYERS) for name in layer}


def top(module: str) -> str:
    """Return what a module is in the layers as: itself, or the subpackage that it is in."""
    return module.partition(".")[0]


def violations(path: str, source: str) -> list[str]:
    """Return a sentence for each forbidden import of the module at `path` in the package."""
    own = top(module_map.module_of(path))
    if own not in LAYER:
        return [f"{own} has no place in LAYERS."]
    found = []
    for module in sorted(map(top, module_map.modules_imported(path, source))):
        if module != own and LAYER[module] < LAYER[own]:
            found.append(f"{own} imports {module}, which is above it.")
        if module != own and LAYER[module] == LAYER[own]:
            found.append(f"{own} imports {module}, which is beside it.")
    for name in module_map.imported_names(path, source):
        package, *rest = name.split(".")
        private = any(part.startswith("_") and not part.startswith("__") for part in rest)
        if own in ONLY and package not in ONLY[own]:
            found.append(f"{own} imports {name}, but only {sorted(ONLY[own])} are allowed.")
        if package == "sklearn" and own not in SKLEARN_MODULES:
            found.append(f"{own} imports {name}, but is no module for scikit-learn.")
        if package == "sklearn" and private and own not in PRIVATE_SKLEARN_MODULES:
            found.append(f"{own} imports {name}, which is private to scikit-learn.")
    return found


@pytest.mark.parametrize("path", SOURCES)
def test_module_imports_what_its_layer_may(path):
    """A module imports only what is below it or in its own subpackage."""
    assert violations(path, SOURCES[path]) == []


def test_no_imports_in_a_circle():
    """Within a subpackage, too, there is an order in which the modules can be read."""
    imported = {
        module_map.module_of(path): module_map.modules_imported(path, source)
        for path, source in SOURCES.items()
        if path.endswith(".py")
    }

    assert len(list(TopologicalSorter(imported).static_order())) >= len(imported)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("_fit.py", "import skl_softmax._classifier", "above"),
        ("_fit.py", "from skl_softmax import _classifier", "above"),
        ("_fit.py", "from skl_softmax import __version__", "above"),
        ("_fit.py", "from skl_softmax import show_versions", "above"),
        ("_fit.py", "def late():\n    from skl_softmax._classifier import check", "above"),
        ("_fit.py", "from . import _classifier", "above"),
        ("_fit.py", "from skl_softmax._partial_fit import Stream", "beside"),
        ("_textbook/_sgd.py", "from .._fit import run", "above"),
        ("_textbook/__init__.py", "from .._fit import run", "above"),
        ("_textbook/_sgd.py", "from skl_softmax._online import OnlineStream", "beside"),
        ("_textbook/_sgd.py", "from skl_softmax._optimum._dual import DualAscent", "beside"),
        (
            "_online/_kernels.pyx",
            "from skl_softmax._optimum._kernels cimport (\n    a, b,\n)",
            "beside",
        ),
        ("_kernels.pyx", "from skl_softmax._online._kernels cimport learn", "above"),
        ("_kernels.pyi", "from skl_softmax._softmax import softmax", "beside"),
        ("_fit.py", "import sklearn.utils", "no module for scikit-learn"),
        ("_classifier.py", "from sklearn.base import _fit_context", "private"),
        ("_classifier.py", "from sklearn.utils._param_validation import Interval", "private"),
        ("_softmax.py", "import numba", "only"),
        ("_attic.py", "", "no place"),
    ],
)
def test_checker_complains(path, source, complaint):
    """The checker sees a forbidden import in each of the ways to write one."""
    sentences = violations(path, source)

    assert sentences
    assert all(complaint in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from skl_softmax._classifier import SoftmaxSGDClassifier"),
        ("_classifier.py", "from sklearn.base import BaseEstimator"),
        ("_fit.py", "import numpy as np\nfrom skl_softmax import _kernels, _softmax"),
        ("_textbook/__init__.py", "from skl_softmax._textbook._sgd import SGD"),
        ("_online/_kernels.pyx", "from skl_softmax._kernels cimport fast_exp\nimport numpy"),
        ("_validation.py", "from sklearn import __version__\nfrom sklearn.utils._tags import Tags"),
        ("_softmax.py", "import numpy as np\nfrom scipy.special import logsumexp"),
    ],
)
def test_checker_is_content(path, source):
    """The checker lets imports pass that lead down, to the own subpackage or to other packages."""
    assert violations(path, source) == []


def test_map_of_modules_is_that_of_the_imports():
    """The map in the page for developers is what the script draws today."""
    page = module_map.PAGE.read_text("utf-8")

    assert module_map.BLOCK.search(page)[0] == module_map.drawn()
