"""The installed package: complete, described truthfully, clear where it cannot work."""

import importlib
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

import skl_softmax

ROOT = Path(__file__).parent.parent
INSTALLED = Path(skl_softmax.__file__).parent
SOURCES = ROOT / "skl_softmax"
EDITABLE = INSTALLED == SOURCES
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCES.rglob("*.py*")
    if path.suffix in {".py", ".pyx"}
)


def python_files(package: Path) -> set[str]:
    """Return the Python files, stubs and type marker below a package directory."""
    return {
        path.relative_to(package).as_posix()
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in package.rglob(pattern)
    }


def run_in_the_source_tree(*args: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the source tree in front of the installed package."""
    return subprocess.run(
        [sys.executable, "-B", *args],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_installed_files_are_those_of_the_source_tree():
    """Meson installs every Python file, stub and type marker of the source tree, and no other."""
    assert python_files(INSTALLED) == python_files(SOURCES)


@pytest.mark.parametrize("module", MODULES)
def test_module_is_importable(module):
    """Each module of the source tree is imported from the installed package."""
    origin = Path(importlib.import_module(module).__file__)

    compiled = INSTALLED.parent / "build"  # by an editable install
    assert origin.is_relative_to(compiled if EDITABLE and origin.suffix != ".py" else INSTALLED)


@pytest.mark.parametrize("folder", ["", "_textbook", "_optimum", "_online"])
def test_types_are_installed(folder):
    """Type checkers find the marker of a typed package and the stubs of the compiled modules."""
    assert (INSTALLED / "py.typed").is_file()
    assert (INSTALLED / folder / "_kernels.pyi").is_file()


def test_version_is_that_of_the_metadata():
    """The package reports the version it was installed as."""
    assert skl_softmax.__version__ == metadata.version("skl_softmax")


def test_license_is_declared_and_shipped():
    """The metadata names the licence by its SPDX identifier and the distribution holds its text."""
    assert metadata.metadata("skl_softmax")["License-Expression"] == "BSD-3-Clause"
    assert any(path.name == "LICENSE" for path in metadata.files("skl_softmax"))


def test_runtime_dependencies():
    """Users need NumPy, SciPy and scikit-learn, and nothing else."""
    requirements = metadata.requires("skl_softmax")
    runtime = {re.match(r"[\w.-]+", line)[0] for line in requirements if "extra ==" not in line}

    assert runtime == {"numpy", "scipy", "scikit-learn"}


def test_public_names():
    """The package exports the classifier, `show_versions` and its version."""
    assert set(skl_softmax.__all__) == {"SoftmaxSGDClassifier", "__version__", "show_versions"}
    assert all(hasattr(skl_softmax, name) for name in skl_softmax.__all__)


@pytest.mark.parametrize("name", ["skl_softmax", "numpy", "scipy", "scikit-learn"])
def test_show_versions_prints_the_version(name, capsys):
    """`show_versions` prints the installed version of the package and its dependencies."""
    skl_softmax.show_versions()

    assert f"{name}: {metadata.version(name)}" in capsys.readouterr().out.splitlines()


def test_show_versions_prints_the_thread_pools(capsys):
    """`show_versions` prints a line for each thread pool, since they explain most odd timings."""
    skl_softmax.show_versions()

    assert capsys.readouterr().out.count("threadpool: user_api=") == len(threadpool_info())


def test_import_of_the_source_tree_says_what_to_do():
    """Importing the uncompiled source tree is one error whose sentence names the remedy."""
    # -S: without the packages of the environment, so that an editable install does not help
    result = run_in_the_source_tree("-S", "-c", "import skl_softmax")

    assert result.returncode != 0
    assert "install it with 'pip install .'" in result.stderr.splitlines()[-1]
    assert result.stderr.count("Traceback") == 1
    assert "No module named" not in result.stderr


@pytest.mark.skipif(EDITABLE, reason="with an editable install the source tree can be imported")
def test_suite_refuses_the_source_tree():
    """`python -m pytest` in the checkout stops at once and names the remedy."""
    result = run_in_the_source_tree("-m", "pytest", "--collect-only")

    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "use 'pytest' instead of 'python -m pytest'" in result.stderr
