"""A list of named cases, run one after the other, each held to what it expects or to the one deviation that is known."""

import sys
import time
import traceback

from deviations import DEVIATIONS

SLOW = 1.0  # seconds; cases that take longer are named


class Suite:
    def __init__(self, side):
        self.side = side
        self.cases = []

    def case(self, section, *expected):
        """A case of `section`; the function's doc string says what is done, and it returns one of `expected`."""

        def add(function):
            number = 1 + sum(section == other for other, *_ in self.cases)
            self.cases.append((section, f"{self.side} {section}/{number}", set(map(str, expected)), function))
            return function

        return add

    def run(self, *given):
        """Runs all, or those that the command line names. `given` goes to every case. -> exit code"""
        words, failed, known, start = sys.argv[1:], [], set(), time.monotonic()
        chosen = 0
        for _, name, expected, function in self.cases:
            what = " ".join(function.__doc__.split())
            if words and not any(word in f"{name} {what}" for word in words):
                continue
            chosen += 1
            begun = time.monotonic()
            try:
                outcome = str(function(*given))
                trace = ""
            except Exception:  # whatever it is, it is this case's failure and not the end of the others
                outcome, trace = "FAILED", traceback.format_exc()
            if time.monotonic() - begun > SLOW:
                print(f"{name}: {what}: {time.monotonic() - begun:.1f} s", flush=True)
            if name in DEVIATIONS:
                known.add(name)
                expected = {DEVIATIONS[name][0]}  # an exact list: what was mended must be taken from it
            if outcome not in expected:
                failed.append(name)
                print(f"{name}: {what}\n  expected {' or '.join(sorted(expected))}, there was {outcome}\n{trace}", flush=True)
        if not words:
            unused = {name for name in DEVIATIONS if name.startswith(self.side + " ")} - known
            failed += sorted(unused)
            for name in sorted(unused):
                print(f"{name}: a deviation of a case that there is not")
        print(f"{self.side}: {chosen} cases, {len(failed)} failed, {len(known)} known deviations, {time.monotonic() - start:.1f} s")
        return 1 if failed else 0


def table(case, section, *rows, **more):
    """Cases of `section` as rows: what is done in words, what is expected (several in a tuple), and the function."""
    for words, expected, run in rows:
        run.__doc__ = words
        case(section, *(expected if isinstance(expected, tuple) else (expected,)), **more)(run)
