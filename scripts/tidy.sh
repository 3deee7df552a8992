#!/usr/bin/env bash
# The habits of this house that a compiler does not check. Prints file:line for each breach and exits
# with 1 if there is one. `scripts/tidy.sh --self-test` shows that each check can fail.
#
# An exception is a line in one of the lists below, with its reason.
set -u
# `... | report` counts in this shell, not in one of its own.
shopt -s lastpipe
cd "${TIDY_ROOT:-$(dirname "${BASH_SOURCE[0]}")/..}"

# Outside io/ nobody asks the machine for the time. Waiting for a caller's time-out is what sync/ is for,
# and a simulator's driver stands in for the clock there.
clock_allowed='^engine/src/sync/[a-z_]+\.rs:'

breaches=0
report() {
    # report TEXT: file:line:code on standard input.
    local lines
    lines="$(cat)"
    [ -n "$lines" ] || return 0
    echo "$1"
    printf '%s\n' "$lines" | cut -c 1-160 | sed 's/^/  /'
    breaches=$((breaches + $(printf '%s\n' "$lines" | wc -l)))
}

# All files that are, or could be, in the repository.
files() {
    { git ls-files --cached --others --exclude-standard 2>/dev/null ||
        find . -name target -prune -o -name .git -prune -o -type f -printf '%P\n'; } |
        while IFS= read -r file; do [ -f "$file" ] && printf '%s\n' "$file"; done | sort -u
}
all="$(files)"
of() { printf '%s\n' "$all" | grep -E "$1" || true; }
# find_in FILES-PATTERN REGEX: file:line:code.
find_in() {
    of "$1" | tr '\n' '\0' | xargs -0 -r grep -nHIE -e "$2" -- || true
}

# ----- the world is met in io/ only -----

above_io='^engine/src/([a-z_]+\.rs|(admin|log|lane|partition|producer|consumer|sync|follower)/.*\.rs)$'
find_in "$above_io" '\bstd::fs\b|\bfs::|\bOpenOptions\b|\bFile::(open|create)\b|\bstd::\{.*\bfs\b' |
    report 'files are touched in engine/src/io only:'
find_in "$above_io" '\bInstant\b|\bSystemTime\b|\bUNIX_EPOCH\b|\bthread::sleep\b' |
    grep -vE "$clock_allowed" |
    report 'clocks are read in engine/src/io only (use the Clock; exceptions are listed in scripts/tidy.sh):'
# Duration is a plain value. What is left of a line without it must not name std::time.
find_in "$above_io" '\bstd::time\b|\bstd::\{.*\btime\b' |
    grep -vE '\bstd::time::Duration\b' | grep -vE "$clock_allowed" |
    report 'of std::time only Duration is used outside engine/src/io:'
find_in "$above_io" '\brand::|\bgetrandom\b|\bRandomState\b|\bDefaultHasher\b' |
    report 'random numbers come from the Storage:'

# ----- layers look down -----

find_in '^engine/src/log/.*\.rs$' '\bcrate::(lane|partition|producer|consumer|topic|engine|keeper|record|stats)\b' |
    report 'engine/src/log knows nothing of topics:'
find_in '^engine/src/io/.*\.rs$' '\bcrate::(log|lane|partition|producer|consumer|topic|engine|keeper|record|stats|error)\b' |
    report 'engine/src/io knows nothing of the engine:'

# ----- nothing is left lying around -----

# Written so that the patterns do not find themselves.
find_in '\.rs$' '\b(todo|unimplemented|dbg)[!]' |
    report 'unfinished or debugging code:'
find_in '.' '(^|[^A-Za-z0-9_.~-])/(wor[k]|roo[t]|hom[e]|User[s])/[A-Za-z0-9_.]' |
    grep -vE '^(Cargo\.lock|LICENSE):' |
    report 'names of places on somebody'"'"'s machine:'
find_in '\.(rs|md|sh|py|toml|yml)$|^Makefile$' '[[:blank:]]+$' |
    report 'blanks at the end of a line:'

# ----- documents -----

of '^((engine|cli|proof|models/[a-z]+)/src/.*|models/[a-z_]+|fuzz/fuzz_targets/.*)\.rs$' | while IFS= read -r file; do
    head -n 1 "$file" | grep -q '^//!' || echo "$file:1:"
done | report 'each source file says at its top what it is (//!):'

# Relative links lead to files that are there.
of '\.md$' | while IFS= read -r file; do
    folder="$(dirname "$file")"
    grep -noE '\]\([^)#: ]+' "$file" | while IFS= read -r hit; do
        target="${hit#*](}"
        [ -e "$folder/$target" ] || echo "$file:${hit%%:*}: $target"
    done
done | report 'links to files that are not there:'

# ----- the checks can fail -----

self_test() {
    local root="$1" caught=0 expected=0
    mkdir -p "$root/engine/src/log" "$root/engine/src/io"
    plant() {
        expected=$((expected + 1))
        rm -rf "$root/engine/src/log/planted.rs" "$root/engine/src/io/planted.rs" "$root/planted.md"
        printf '%b' "$2" >"$root/$1"
        if TIDY_ROOT="$root" "$self" >/dev/null; then echo "not caught: $1: $2"; else caught=$((caught + 1)); fi
    }
    TIDY_ROOT="$root" "$self" >/dev/null || { echo 'an empty tree is not tidy'; return 1; }
    plant engine/src/log/planted.rs '//! x\nuse std::fs;\n'
    plant engine/src/log/planted.rs '//! x\nuse std::time::{Duration, Instant};\n'
    plant engine/src/log/planted.rs '//! x\nuse std::time;\n'
    plant engine/src/log/planted.rs '//! x\nlet now = SystemTime::now();\n'
    plant engine/src/log/planted.rs '//! x\nuse crate::lane::lane::Lane;\n'
    plant engine/src/io/planted.rs '//! x\nuse crate::log::frame::Kind;\n'
    plant engine/src/log/planted.rs '//! x\ntod''o!()\n'
    plant engine/src/log/planted.rs 'fn f() {}\n'
    plant engine/src/log/planted.rs '//! x \n'
    plant planted.md 'see /ro''ot/notes\n'
    plant planted.md '[nowhere](absent.md)\n'
    echo "$caught of $expected planted breaches caught"
    [ "$caught" = "$expected" ]
}

if [ "${1:-}" = --self-test ]; then
    self="$PWD/scripts/tidy.sh"
    root="$(mktemp -d)"
    trap 'rm -rf "$root"' EXIT
    self_test "$root"
    exit
fi

[ "$breaches" = 0 ] || echo "$breaches breaches"
[ "$breaches" = 0 ]
