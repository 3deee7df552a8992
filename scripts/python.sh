#!/usr/bin/env bash
# The Python package: builds the wheel, installs it into a fresh environment that has no compiler's help, and runs
# mypy --strict and the tests there. The last line counts them, as the other tests do.
#
# It takes the library and the header as they are: build these first (`make library`). All that
# it makes is in target/python; what pip downloads is kept there, so that the second time is quick.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
target="${CARGO_TARGET_DIR:-$root/target}"
library="${RINGLANE_LIBRARY:-$target/release/libringlane.so}"
python="${PYTHON:-python3}"
here="$target/python"
tools='setuptools wheel mypy pytest'
# Only what stands in these variables decides what is installed, not what a user's own Python has.
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "Python 3.11 or newer is needed: set PYTHON" >&2; exit 1; }
[ -f "$library" ] || { echo "there is no $library: build the library first" >&2; exit 1; }
mkdir -p "$here/wheels"

# Tools, from the wheels that were kept, or from where pip has them.
tools_in() {
    "$1/bin/python" -m pip install --quiet --no-index --find-links "$here/wheels" $tools 2>/dev/null && return
    "$1/bin/python" -m pip download --quiet --dest "$here/wheels" $tools
    "$1/bin/python" -m pip install --quiet --no-index --find-links "$here/wheels" $tools
}

if ! "$here/build/bin/python" -c 'import setuptools, wheel' 2>/dev/null; then
    rm -rf "$here/build"
    "$python" -m venv "$here/build"
    tools_in "$here/build"
fi

# The sources with the library and the header, apart from the folder where they are written.
rm -rf "$here/source" "$here/dist"
mkdir -p "$here/source/include" "$here/dist"
(cd bindings/python && cp -r ringlane pyproject.toml setup.py README.md "$here/source/")
find "$here/source" -name __pycache__ -prune -exec rm -rf {} +
cp include/ringlane.h "$here/source/include/"
soname="$(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')"
strip --strip-unneeded -o "$here/source/ringlane/${soname:-libringlane.so}" "$library"
mkdir -p "$here/source/link"
ln -s "../ringlane/${soname:-libringlane.so}" "$here/source/link/libringlane.so"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
(
    cd "$here/source"
    RINGLANE_INCLUDE=include RINGLANE_LIBRARY=link RINGLANE_VERSION="${version:-0.1.0}" \
        "$here/build/bin/python" -m pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir "$here/dist" .
)
wheel="$(echo "$here"/dist/ringlane-*.whl)"
echo "$(basename "$wheel"): $(du -k "$wheel" | cut -f 1) KiB"

# An environment in which the package is installed as anybody installs it.
rm -rf "$here/fresh"
"$python" -m venv "$here/fresh"
"$here/fresh/bin/python" -m pip install --quiet --no-index "$wheel"
env -i PATH=/nowhere "$here/fresh/bin/python" -c 'import ringlane; print("ringlane", ringlane.__version__)'
tools_in "$here/fresh"

# The tests stand where they stand in the repository, but for the package itself: that is the installed one.
run="$here/run/bindings/python"
rm -rf "$here/run"
mkdir -p "$run"
(cd bindings/python && cp -r tests examples README.md pyproject.toml "$run/")
[ ! -d bindings/conformance ] || cp -r bindings/conformance "$here/run/bindings/"
mkdir -p "$here/run/docs"
cp docs/LANGUAGES.md "$here/run/docs/"
find "$run" -name __pycache__ -prune -exec rm -rf {} +
cd "$run"
"$here/fresh/bin/python" -m mypy --strict --cache-dir "$here/mypy" -p ringlane
"$here/fresh/bin/python" -m mypy --strict --cache-dir "$here/mypy" examples/*.py "$root/benches/python/bench.py"
MYPYPATH=tests "$here/fresh/bin/python" -m mypy --strict --cache-dir "$here/mypy" tests/*.py
mkdir -p "$here/data"
status=0
TMPDIR="$here/data" "$here/fresh/bin/python" -W error::ResourceWarning -m pytest --basetemp "$here/data/tests" \
    --junit-xml "$here/tests.xml" "$@" || status=$?
rm -rf "$here/data"
"$here/fresh/bin/python" - "$here/tests.xml" <<'PYTHON' || status=1
import sys
import xml.etree.ElementTree

suite = next(xml.etree.ElementTree.parse(sys.argv[1]).iter("testsuite"))
count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
failed = count["failures"] + count["errors"]
passed = count["tests"] - failed - count["skipped"]
word = "FAILED" if failed else "ok"
print(f"test result: {word}. {passed} passed; {failed} failed; {count['skipped']} ignored; 0 measured; 0 filtered out")
sys.exit(1 if failed else 0)
PYTHON
exit "$status"
