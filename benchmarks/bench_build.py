"""Answers what it costs to build the package, beside another commit of it.

`pip install --no-deps CHECKOUT`, isolation and all, into a virtual environment for each of the two
checkouts, which take turns: CPU seconds (user and system) of everything that pip starts. A wheel of
each comes first, which also fills pip's cache. Unix only.

    python benchmarks/bench_build.py OLD_CHECKOUT NEW_CHECKOUT --repeat 5
"""

import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from _harness import Report, arguments, ratio


def cpu_seconds(command):
    """Of the command and what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commit(source):
    """What a result calls a checkout: its commit."""
    command = ["git", "-C", source, "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Checkout:
    """A commit, with an environment to install it in."""

    def __init__(self, source, work):
        self._source = Path(source).resolve()
        self._wheels = work / "wheels"
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        self._pip = [work / "venv/bin/python", "-m", "pip", "--quiet"]

    def wheel(self):
        """Build a wheel: its size, and that of each compiled module in it."""
        cpu_seconds([*self._pip, "wheel", "--no-deps", "-w", self._wheels, self._source])
        (wheel,) = self._wheels.iterdir()
        files = zipfile.ZipFile(wheel).infolist()
        modules = {f.filename.split(".")[0]: f.file_size for f in files if ".so" in f.filename}
        return wheel.stat().st_size, modules

    def install(self):
        """CPU seconds of an installation, which does not stay."""
        seconds = cpu_seconds([*self._pip, "install", "--no-deps", self._source])
        cpu_seconds([*self._pip, "uninstall", "--yes", "skl_softmax"])
        return seconds


def main():
    """Both wheels, then installations in turns."""
    options = arguments(__doc__, "old", "new")
    sources = {name: getattr(options, name) for name in ("old", "new")}
    vars(options).update({name: commit(source) for name, source in sources.items()})
    report = Report(Path(__file__), options)
    repeat = options.repeat or (1 if options.quick else 5)
    with tempfile.TemporaryDirectory() as work:
        checkouts = {name: Checkout(source, Path(work, name)) for name, source in sources.items()}
        wheels = {name: checkout.wheel() for name, checkout in checkouts.items()}
        turns = [[one.install() for one in checkouts.values()] for _ in range(repeat)]
    seconds = dict(zip(checkouts, np.array(turns).T, strict=True))
    sizes = {name: size for name, (size, _) in wheels.items()}
    report.table(
        f"pip install, {repeat} turns",
        [
            {"checkout": name, "cpu_s": float(np.median(taken)), "least_s": float(taken.min())}
            | {"most_s": float(taken.max()), "x_old": ratio(taken, seconds["old"])}
            | {"wheel_bytes": sizes[name]}
            for name, taken in seconds.items()
        ],
    )
    report.table(
        "Compiled modules",
        [
            {"checkout": name, "module": module, "bytes": size}
            for name, (_, modules) in wheels.items()
            for module, size in modules.items()
        ],
    )
    report.check("CPU seconds, new / old", ratio(seconds["new"], seconds["old"]), at_most=0.667)
    report.check("wheel bytes, new / old", sizes["new"] / sizes["old"], at_most=1)
    report.close()


if __name__ == "__main__":
    main()
