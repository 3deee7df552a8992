#!/usr/bin/env python3
"""Compiles and runs every complete program of docs/C.md: a block marked `c` or `cpp` with a `main`.

    ffi/tests/guide.py LIBRARY_DIRECTORY [FILTER]

LIBRARY_DIRECTORY has libringlane.so, or libringlane.a alone. FILTER chooses programs by their names, which are the
headings that they stand under. CC and CXX name the compilers. Each program runs in an empty directory of its own, and is to
end with status 0 and nothing on its standard error. Blocks with other words behind the fence, such as `c,ignore`, are
fragments.

Two more checks need no compiler: that the guide names nothing that the header does not have, and that the C++ wrapper has
every function of it.
"""

import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "C.md"
HEADER = ROOT / "include" / "ringlane.h"
WRAPPER = ROOT / "include" / "ringlane.hpp"
SECONDS_MAX = 120
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
# What the static library needs beside itself.
SYSTEM = ["-pthread", "-ldl", "-lm"]


def programs():
    """The name, the language and the text of each program, in their order."""
    heading, language, lines, count = "", None, [], {}
    for number, line in enumerate(GUIDE.read_text().splitlines(), 1):
        if language is None:
            if match := re.match(r"#+ (.*)", line):
                heading = re.sub(r"\W+", "_", match[1].lower().replace("+", "p")).strip("_")
            elif line.startswith("```"):
                language, lines, first = line[3:].strip(), [], number
        elif line.strip() == "```":
            text = "\n".join(lines) + "\n"
            if language in ("c", "cpp"):
                if not re.search(r"\bint main\b", text):
                    sys.exit(f"{GUIDE.name}, line {first}: a block without `int main`: mark it `{language},ignore`")
                count[heading] = count.get(heading, 0) + 1
                suffix = f"_{count[heading]}" if count[heading] > 1 else ""
                # Errors of the compiler name the line of the guide.
                yield heading + suffix, language, f'#line {first + 1} "{GUIDE.name}"\n{text}'
            language = None
        else:
            lines.append(line)
    if language is not None:
        sys.exit(f"{GUIDE.name}, line {first}: the block does not end")


def library_flags(library):
    if (library / "libringlane.so").exists():
        return [f"-L{library}", "-lringlane", f"-Wl,-rpath,{library}", *SYSTEM]
    if (library / "libringlane.a").exists():
        return [str(library / "libringlane.a"), *SYSTEM]
    sys.exit(f"{library}: there is neither libringlane.so nor libringlane.a; build the library first")


def run(command, **arguments):
    """What went wrong, or nothing."""
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS_MAX, **arguments
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]}: it did not end within {SECONDS_MAX} s"
    if ended.returncode != 0 or ended.stderr:
        return f"{command[0]}: status {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return None


def check(language, text, library):
    """Compiles and runs a program; what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="ringlane-guide-") as directory:
        place = pathlib.Path(directory)
        source, program, data = place / f"program.{language}", place / "program", place / "empty"
        source.write_text(text)
        data.mkdir()
        compiler, standard = ("CC", "c11") if language == "c" else ("CXX", "c++17")
        compiler = os.environ.get(compiler) or {"CC": "cc", "CXX": "c++"}[compiler]
        flags = [f"-std={standard}", *WARNINGS, f"-I{ROOT / 'include'}"]
        compiled = run([*compiler.split(), *flags, str(source), "-o", str(program), *library_flags(library)])
        return compiled or run([str(program)], cwd=data)


def words(path, pattern):
    return set(re.findall(pattern, path.read_text()))


def guide_names_what_there_is():
    pattern = r"\bringlane_[a-z_]+[a-z]\b|\bRINGLANE_[A-Z_]+[A-Z]\b"
    unknown = words(GUIDE, pattern) - words(HEADER, pattern)
    return f"not in {HEADER.name}: {', '.join(sorted(unknown))}" if unknown else None


def wrapper_has_every_function():
    functions = words(HEADER, r"\bringlane_[a-z_]+(?=\()")
    missing = functions - words(WRAPPER, r"\bringlane_[a-z_]+\b")
    return f"not in {WRAPPER.name}: {', '.join(sorted(missing))}" if missing or not functions else None


def tests(library):
    """The name of each test, and what runs it and returns what went wrong."""
    for check_of_texts in (guide_names_what_there_is, wrapper_has_every_function):
        yield check_of_texts.__name__, check_of_texts
    for name, language, text in programs():
        yield name, functools.partial(check, language, text, library)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.strip())
    library = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2] if len(sys.argv) == 3 else ""
    library_flags(library)
    passed = failed = filtered = 0
    for name, test in tests(library):
        if wanted not in name:
            filtered += 1
            continue
        reason = test()
        passed, failed = (passed + 1, failed) if reason is None else (passed, failed + 1)
        print(f"test {name} ... {'ok' if reason is None else 'FAILED'}", flush=True)
        if reason is not None:
            print(reason, flush=True)
    if passed + failed + filtered < 3:
        sys.exit(f"{GUIDE.name} has no program")
    print(
        f"\ntest result: {'ok' if failed == 0 else 'FAILED'}. {passed} passed; {failed} failed; 0 ignored; 0 measured; "
        f"{filtered} filtered out"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
