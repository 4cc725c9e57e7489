"""What the scripts share: timing rivals side by side, tables and checks."""

import argparse
import json
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _facts import machine_facts

HERE = Path(__file__).resolve().parent


def arguments(doc, *positional, **extra):
    """The options that every script has, and those of one: name -> what `add_argument` takes.

    ``positional`` are the names of arguments that must be given, in their order.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in positional:
        parser.add_argument(name)
    parser.add_argument("--quick", action="store_true", help="small sizes: only to see it work")
    parser.add_argument("--repeat", type=int, help="interleaved repetitions", metavar="N")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where the JSON goes (default: results/<script>.json; with --quick, nowhere)",
    )
    for name, how in extra.items():
        parser.add_argument(f"--{name}", **how)
    return parser.parse_args()


def clock(work, *args):
    """Seconds that ``work(*args)`` takes."""
    start = time.perf_counter()
    work(*args)
    return time.perf_counter() - start


def time_epochs(contenders, repeat, seconds=0.5):
    """Seconds an epoch and seconds of set-up, ``repeat`` of each, for every contender.

    A contender is a function of the number of epochs that it runs. An epoch is
    ``(t(1 + m) - t(1)) / m``, so that what happens once a fit stays out of it; ``m`` is chosen so
    that the m epochs take about ``seconds``, or as long as the set-up where that is longer. Set-up
    is ``t(1)`` less an epoch, so it is negative where the first epoch is a cheap one. In each
    repetition every contender has its turn.
    """
    extra = {}
    for name, run in contenders.items():
        run(1)  # warm-up
        one, two = clock(run, 1), clock(run, 2)
        epoch = max(two - one, seconds / 100)
        extra[name] = max(1, round(max(seconds, one - epoch) / epoch))
    epochs = {name: [] for name in contenders}
    setups = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, run in contenders.items():
            once = clock(run, 1)
            epoch = (clock(run, 1 + extra[name]) - once) / extra[name]
            epochs[name].append(epoch)
            setups[name].append(once - epoch)
    return {n: np.array(s) for n, s in epochs.items()}, {n: np.array(s) for n, s in setups.items()}


def time_calls(contenders, calls):
    """Seconds of each of ``calls`` calls of every contender, taking turns in a rotating order.

    A contender is a function of the number of the call.
    """
    names = list(contenders)
    seconds = {name: np.empty(calls) for name in names}
    for call in range(-100, calls):  # negative: warm-up
        first = call % len(names)
        for name in names[first:] + names[:first]:
            elapsed = clock(contenders[name], call)
            if call >= 0:
                seconds[name][call] = elapsed
    return seconds


@contextmanager
def interrupted_after(seconds):
    """Raise TimeoutError in the block once the time is over and Python has its turn."""

    def stop(*_):
        raise TimeoutError

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def in_ms(seconds, name):
    """Median and quartiles of the samples, in milliseconds, as columns of a table."""
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75]) * 1e3
    return {f"{name}_ms": middle, "q1_ms": low, "q3_ms": high}


def ratio(seconds, rival):
    """Median over the repetitions of the ratio to what the rival took in the same one."""
    return float(np.median(seconds / rival))


@dataclass
class Report:
    """Prints tables and checks, and keeps them for the JSON file."""

    script: Path
    options: argparse.Namespace
    facts: dict = field(default_factory=machine_facts)
    tables: dict = field(default_factory=dict)
    checks: list = field(default_factory=list)

    def table(self, title, rows):
        """Print rows, all with the same keys; a key is the head of a column."""
        self.tables[title] = rows
        print_table(title, rows)

    def check(self, claim, measured, *, at_most=None, at_least=None):
        """Hold a measured ratio against its target; one that noise made negative is no pass."""
        kept = 0 < measured <= at_most if at_least is None else measured >= at_least
        target = f"<= {at_most}" if at_least is None else f">= {at_least}"
        verdict = "pass" if kept else "FAIL"
        self.checks.append(
            {"claim": claim, "target": target, "measured": measured, "verdict": verdict}
        )

    def close(self):
        """Print the checks and the facts, and write the file."""
        if self.checks:
            print_table("Checks", self.checks)
        print("\n" + "\n".join(f"{key}: {value}" for key, value in self.facts.items()))
        output = self.save()
        print(f"saved: {output}" if output else "small sizes: the targets are for the full ones")

    def save(self):
        """Write what there is so far, and return where; small sizes leave no file unasked."""
        name = f"{self.script.stem}.json"
        output = self.options.output or (None if self.options.quick else HERE / "results" / name)
        if output:
            options = {key: value for key, value in vars(self.options).items() if key != "output"}
            parts = {"facts": self.facts | options, "tables": self.tables, "checks": self.checks}
            output.write_text(json.dumps(parts, indent=1, default=float) + "\n")
        return output


def print_table(title, rows):
    """Columns as wide as they need to be, numbers to the right."""
    cells = [[key.replace("_", " ") for key in rows[0]]]
    cells += [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for line in cells:
        first, *others = zip(line, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]))


def _cell(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
