#!/usr/bin/env bash
# What libringlane.so shows to others: exactly the functions of the header, under its soname, and it stays loaded.
# Each of these functions is called by the tests in C.
#
#   ffi/tests/symbols.sh PATH/TO/libringlane.so
set -u
library="$(realpath "$1")"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
passed=0 failed=0

# expect NAME COMMAND...: a check that says nothing when it is well.
expect() {
    local name="$1"
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "symbols: $name" >&2
    fi
}

same() {
    diff <(printf '%s\n' "$1") <(printf '%s\n' "$2") >&2
}

# has TEXT REGEX
has() {
    grep -qE -e "$2" <<<"$1"
}

exported="$(nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)"
# A declaration begins a line, and what it declares stands before the first bracket.
declared="$(sed -n 's/^[a-z].*\b\(ringlane_[a-z0-9_]*\)(.*/\1/p' include/ringlane.h | sort -u)"
dynamic="$(readelf -dW "$library")"

expect 'the header declares functions' has "$declared" '^ringlane_engine_open$'
expect 'exported (<) and declared (>) are not the same' same "$exported" "$declared"
expect 'the soname is not libringlane.so.0' has "$dynamic" 'SONAME.*\[libringlane\.so\.0\]'
expect 'NODELETE is not set: it could be unloaded under its threads' has "$dynamic" 'FLAGS_1.*NODELETE'
called="$(cat ffi/tests/c/*.[ch] | grep -oE '\bringlane_[a-z0-9_]+\(' | tr -d '(' | sort -u)"
expect 'functions that no test in C calls (<)' same "$(comm -23 <(echo "$declared") <(echo "$called"))" ''

state=ok
[ "$failed" = 0 ] || state=FAILED
echo "test result: $state. $passed passed; $failed failed; 0 ignored; 0 measured; 0 filtered out"
[ "$failed" = 0 ]
