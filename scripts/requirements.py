#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which test covers which requirement.

    requirements.py --write    write the table in the selftests' README.rst
    requirements.py --check    print one line for each problem; exit status 1 if
                               there is any

scripts/requirements.txt lists the numbers.  A test names those that it covers in
one place only:

    selftests        the title of a case: add "R2.2 N5: sentence" function
    KUnit            the comment directly above the function of a case
                     (/* R2.2 N5: sentence */), and parameter descriptions
                     ({ "R2.2 N5 sentence", ... })
    static checks    the name of a finding in lint*.sh: finding "R5.2: name"

Prose elsewhere may mention numbers; it does not count.
"""

import re
import sys
import textwrap
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SELFTESTS = TOP / "tools/testing/selftests/p2pdma"
README = SELFTESTS / "README.rst"
LIST = TOP / "scripts/requirements.txt"
BEGIN, END = ".. begin of the table\n\n", "\n.. end of the table\n"
# Tests of the tests' own equipment, for which there is no requirement.
EQUIPMENT = ("rnic.sh",)
NUMBER = r"(?:R\d+\.\d+|N\d+)"
TITLE = re.compile(rf"^\s*add(?:_nvmet)? \"((?:{NUMBER} )*{NUMBER}(?=:))?(.*?)\"", re.M)
STATIC = re.compile(rf"\bfinding \"((?:{NUMBER} )*{NUMBER}): ")
CASE = re.compile(r"KUNIT_CASE(\w*)\((\w+)")
PARAMETER = re.compile(rf"\{{ \"((?:{NUMBER} )+)")
FUNCTION = re.compile(r"^(\w+)\(\)\n?\s*\{\n(.*?)^\}", re.M | re.S)


def requirements():
    """Number: (name, state); a state of "not built yet" needs no test."""
    found = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            number, name = line.split(None, 1)
            name, _, state = name.partition(" -- ")
            if state not in ("", "partly built", "not built yet"):
                sys.exit(f"{LIST}: {number}: unknown state '{state}'")
            found[number] = (name, state)
    return found


def shell_cases(path):
    """(test, title, numbers); a library's cases are those of the tests that call it."""
    text = path.read_text(encoding="utf-8")
    callers = {}
    for name, body in FUNCTION.findall(text) if path.stem.endswith("-lib") else ():
        tests = [test.name for test in SELFTESTS.glob("*.sh")
                 if re.search(rf"^{name}\b(?!\()", test.read_text(encoding="utf-8"), re.M)]
        callers.update((title[0], tests) for title in TITLE.finditer(body))
    for title in TITLE.finditer(text):
        for test in callers.get(title[0], [path.name]):
            yield test, (title[1] or "") + title[2], (title[1] or "").split()


def kunit_cases(path):
    text = path.read_text(encoding="utf-8")
    suite = re.search(r'struct kunit_suite \w+ = \{[^}]*\.name = "(\w+)"', text)
    if not suite:
        return
    suite = suite[1]
    for match in PARAMETER.finditer(text):
        yield suite, "a parameter", match[1].split()
    for kind, name in CASE.findall(text):
        comment = re.search(r"/\*((?:(?!\*/).)*)\*/\n(?:static )?void " + name + r"\(",
                            text, re.S)
        start = re.match(rf"[\s*]*((?:{NUMBER} )*{NUMBER})(?::|\s*$)", comment[1]) if comment else None
        numbers = start[1].split() if start else []
        # Each parameter of such a case has numbers of its own.
        if numbers or "PARAM" not in kind:
            yield suite, name, numbers


def all_cases():
    for path in sorted(SELFTESTS.glob("*.sh")):
        yield from shell_cases(path)
    for path in sorted((TOP / "drivers").rglob("*_test.c")):
        yield from kunit_cases(path)
    for source in sorted((TOP / "scripts").glob("lint*.sh")):
        for match in STATIC.finditer(source.read_text(encoding="utf-8")):
            yield "static check", source.name, match[1].split()


def table(known, covered):
    widths = (max(len(number) for number in known), 42, 46)
    rule = "  ".join("=" * width for width in widths)

    def row(*cells):
        columns = [textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
                   for cell, width in zip(cells, widths)]
        for i in range(max(map(len, columns))):
            yield "  ".join((column[i] if i < len(column) else "").ljust(width)
                            for column, width in zip(columns, widths)).rstrip()

    lines = [rule, *row("No.", "What", "Tests"), rule]
    for number, (name, state) in known.items():
        tests = ", ".join(sorted(covered.get(number, ())))
        lines += row(number, name, "; ".join(filter(None, (state, tests))))
    return "\n".join(lines + [rule]) + "\n"


def main():
    if sys.argv[1:] not in (["--check"], ["--write"]):
        sys.exit(__doc__)
    known, covered, tests, problems = requirements(), {}, set(), []
    for test, title, numbers in all_cases():
        tests.add(test)
        if not numbers and test not in EQUIPMENT:
            problems.append(f"{test}: {title}: no number")
        for number in numbers:
            covered.setdefault(number, set()).add(test)
            if number not in known:
                problems.append(f"{test}: {title}: {number} is not in {LIST.name}")
            elif known[number][1] == "not built yet":
                problems.append(f"{test}: {title}: {number} is said not to be built yet")
    problems += [f"{number}: no test covers it ({name})" for number, (name, state)
                 in known.items() if number not in covered and state != "not built yet"]
    problems += [f"{path.name}: no case found" for path in SELFTESTS.glob("*.sh")
                 if "\n# topology:" in path.read_text(encoding="utf-8") and path.name not in tests]
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    old, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{README}: no markers of the table")
    if sys.argv[1] == "--write":
        README.write_text(before + BEGIN + table(known, covered) + END + after, encoding="utf-8")
        return
    if old != table(known, covered):
        problems.append(f"{README.name}: the table is not what the tests say; "
                        "run scripts/requirements.py --write")
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
