"""What a reader needs to judge the numbers: commit, machine, versions."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

import skl_softmax

CHECKOUT = Path(__file__).resolve().parents[1]


def machine_facts():
    """All facts, for the JSON file of a report."""
    packages = ("skl_softmax", "numpy", "scipy", "scikit-learn", "threadpoolctl")
    rivals = ("torch", "scikit-learn-intelex", "vowpalwabbit", "river", "cyanure")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "installed": _same_as_checkout(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages + rivals},
        "thread_pools": [
            {key: pool.get(key) for key in ("internal_api", "version", "architecture")}
            for pool in threadpool_info()
        ],
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed: left out"


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((li.split(": ")[1] for li in lines if li.startswith("model name")), "unknown")


def _caches():
    """Size of each cache that a core sees, from the nearest on (Linux)."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    return [(folder / "size").read_text().strip() for folder in folders]


def _commit():
    """The commit of the checkout, and whether the package in it has changed since."""
    sources = ("skl_softmax", "meson.build", "pyproject.toml")
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + (" with changes" if _git("status", "--porcelain", "--", *sources) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments):
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _same_as_checkout():
    """Whether the modules measured are those of the commit (its compiled part cannot be told)."""
    installed, checkout = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.py")}
        for folder in (Path(skl_softmax.__file__).parent, CHECKOUT / "skl_softmax")
    )
    return f"modules {'equal' if installed == checkout else 'differ from'} the checkout's"
