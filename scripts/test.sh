#!/usr/bin/env bash
# All tests and checks. One line for each step that is well; the whole output of each that is not.
# The last line is `N passed, N failed`: tests of all test binaries, and one more failure for each
# check, build or test binary that failed without counting itself. `lint` leaves the tests out.
#
# What waits for the disk most of the time (the engine on each backend) runs beside what computes (the proofs).
#
# Bounds: RINGLANE_TEST_MINUTES (default 15) for each run of tests and for each of the proofs. A hang is a failure.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"
export CARGO_TERM_COLOR=never
cargo="${CARGO:-cargo}"
what="${1:-all}"
minutes="${RINGLANE_TEST_MINUTES:-15}"

output="$(mktemp -d)"
trap 'rm -rf "$output"' EXIT
started=$SECONDS
# What runs now, of two that run at a time.
track=checks

# note KIND VALUE: what the summary needs, in files, because tracks are processes of their own.
note() {
    echo "$2" >>"$output/$1"
}

# total KIND: the sum of what was noted.
total() {
    cat "$output/$1" 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}

# ended NAME BEGIN STATE: the line of a step, and its whole output if it failed, in one piece.
ended() {
    printf '%-7s %-34s %4d s\n' "$3" "$1" $((SECONDS - $2)) >"$output/$track.line"
    [ "$3" = ok ] || sed 's/^/    /' "$output/$track.output" >>"$output/$track.line"
    flock "$output" cat "$output/$track.line"
}

# step NAME COMMAND...: runs it; shows its output only if it fails.
step() {
    local name="$1" begin=$SECONDS
    shift
    if "$@" >"$output/$track.output" 2>&1; then
        ended "$name" "$begin" ok
        return 0
    fi
    ended "$name" "$begin" FAILED
    note broken "$name"
    return 1
}

check() {
    step "$@" || note failed 1
}

# The sum of one figure over all `test result:` lines.
sum() {
    sed -n "s/^test result:.* \([0-9][0-9]*\) $1.*/\1/p" "$output/$track.output" |
        awk '{ sum += $1 } END { print sum + 0 }'
}

clippy_of_the_engine_alone() {
    # Without the features that other members of the workspace switch on.
    "$cargo" clippy --quiet -p ringlane --all-targets -- -D warnings
}

cargo_deny() {
    "$cargo" deny --all-features check bans licenses sources || return 1
    "$cargo" deny --all-features check advisories >"$output/advisories" 2>&1 && return 0
    cat "$output/advisories"
    # Without a network there is no list of advisories to check against; that is nobody's fault.
    grep -qi 'failed to fetch' "$output/advisories"
}

build_tests() {
    "$cargo" test --quiet --no-run --message-format=json-render-diagnostics >"$output/binaries"
}

# tests NAME COMMAND...: runs tests, counts them, and shows their output only if something failed.
tests() {
    local name="$1" begin=$SECONDS status=0
    shift
    timeout --kill-after=30 "$((minutes * 60))" "$@" >"$output/$track.output" 2>&1 || status=$?
    local counted succeeded
    counted=$(sum failed)
    succeeded=$(sum passed)
    note passed "$succeeded"
    note failed "$counted"
    note ignored "$(sum ignored)"
    # What could not run on this machine passes, and is not passed over in silence.
    grep -a '^did not run: ' "$output/$track.output" | sort -u | sed 's/^/        /'
    if [ "$status" = 0 ] && [ "$counted" = 0 ] && [ "$succeeded" -gt 0 ]; then
        ended "$name" "$begin" ok
        # What could not run here says why.
        sed -n 's/^test \(.*\) \.\.\. ignored, \(no .*\)/        skipped \1: \2/p' "$output/$track.output"
        return
    fi
    ended "$name" "$begin" FAILED
    case "$status" in
        124 | 137) note broken "$name (stopped after $minutes minutes)" ;;
        *) note broken "$name" ;;
    esac
    # A test binary that was killed or timed out prints no result; it must not pass for zero failures.
    [ "$counted" -gt 0 ] || note failed 1
}

# Tests of what stands above the log, and is the same on every backend.
above_the_log='admin.rs admin_members.rs admin_transactions.rs async_poll.rs audit.rs continuity.rs documents.rs
    filters.rs group_faults group_retention.rs groups.rs inbox.rs interceptors.rs named_producers.rs origins.rs redrive.rs
    transaction_faults transactions_sqlite'

# The example of transactions with a database: ended in the middle, it has a message for each order all the same.
run_example() {
    local example directory said status=0
    example="$(sed -n 's|.*"executable":"\([^"]*/examples/orders_sqlite\)".*|\1|p' "$output/binaries")"
    directory="$(mktemp -d)"
    TMPDIR="$directory" "$example" || status=1
    TMPDIR="$directory" "$example" crash && status=1
    said="$(TMPDIR="$directory" "$example")" || status=1
    rm -rf "$directory"
    printf '%s\n' "$said"
    [ "$(listed orders <<<"$said" | wc -l)" = 3 ] || status=1
    # The same ones: the checker may commit what was left over before or after the third order is taken.
    [ "$(listed orders <<<"$said")" = "$(listed messages <<<"$said")" ] || status=1
    return "$status"
}

# What the example lists after a word, one a line and sorted.
listed() {
    sed -n "s/^$1: *//p" | tr -d ' ' | tr ',' '\n' | sort
}

# The engine and the command on the backend that an engine chooses for itself, and once more on each of the others what
# touches the files. What loops over all backends by itself then looks at that one only.
run_engine() {
    local above
    # Words, on purpose: each of them is one argument.
    # shellcheck disable=SC2086
    above="$(printf '^engine/tests/%s ' $above_the_log)"
    check 'example, orders in SQLite' run_example
    tests 'engine and command, io-uring' env RINGLANE_TEST_BACKEND=io-uring \
        scripts/run-tests.py "$output/binaries" engine cli
    # shellcheck disable=SC2086
    tests 'engine, backend plain' env RINGLANE_TEST_BACKEND=plain scripts/run-tests.py "$output/binaries" engine $above
    return 0
}

# The third backend differs from the second in how files are opened and flushed, so what lasts long and only moves records
# about is left out. It runs behind the proofs: so both tracks take about as long.
run_buffered() {
    local above long='cleaner.rs grouping.rs retention.rs lane_count.rs transactions.rs cold.rs'
    # shellcheck disable=SC2086
    above="$(printf '^engine/tests/%s ' $above_the_log $long)"
    renice -n 0 -p "$BASHPID" >/dev/null 2>&1 || true
    # shellcheck disable=SC2086
    tests 'engine, backend plain-buffered' env RINGLANE_TEST_BACKEND=plain-buffered \
        scripts/run-tests.py "$output/binaries" engine $above
}

# The C library as users have it, and what stands on it: programs in C and C++, those of the guide, the package for Python.
run_library() {
    local target="${CARGO_TARGET_DIR:-target}"
    if ! step 'building the C library' make --no-print-directory library; then
        note failed 1
        return
    fi
    tests 'C and C++' scripts/test-ffi.sh "$target/release"
    check 'the benchmark in C, a moment of it' env SECONDS_EACH=0.1 make --no-print-directory bench-c
    tests 'the guide to C and C++' ffi/tests/guide.py "$target/release"
    tests 'Python' scripts/python.sh
}

# proof NAME COMMAND...: a check whose last line of output is its figures.
proof() {
    if step "$1" timeout --kill-after=30 "$((minutes * 60))" "${@:2}"; then
        # What happened how often stands between the first part and the last one.
        note figures "$(tail -n 1 "$output/$track.output" | sed 's/;.*;/;/')"
    else
        note failed 1
    fi
}

# Everything else, and a bounded part of what `make proof` runs for hours. The build is one of its own: what users get
# holds no faults. Without a canary set it does the same, so that seeds run on it as well.
run_proofs() {
    local target="${CARGO_TARGET_DIR:-target}/canaries" backend
    # The tests beside it are timed out where these would only take longer.
    renice -n 5 -p "$BASHPID" >/dev/null
    tests 'examples in the documentation' "$cargo" test --quiet --doc
    tests 'proofs and models' env RINGLANE_TEST_BACKEND=io-uring \
        scripts/run-tests.py "$output/binaries" . ^engine ^cli
    for backend in plain plain-buffered; do
        tests "corruption, backend $backend" env RINGLANE_TEST_BACKEND="$backend" RINGLANE_CORRUPTION_CASES=0 \
            scripts/run-tests.py "$output/binaries" proof/tests/corruption.rs
    done
    if ! step 'building the proofs' "$cargo" build --release --quiet -p ringlane-proof --features canaries \
        --target-dir "$target"; then
        note failed 1
        return
    fi
    proof 'simulator' "$target/release/ringlane-proof" sim --seeds 300
    proof 'canaries' "$target/release/ringlane-proof" canaries
    proof 'exhaustive, every seventh point' "$target/release/ringlane-proof" exhaustive --operations 2 --stride 7
}

finish() {
    local failed
    failed=$(total failed)
    echo
    [ ! -f "$output/broken" ] || sed 's/^/failed: /' "$output/broken"
    [ "$(total ignored)" = 0 ] || echo "ignored: $(total ignored)"
    [ ! -f "$output/figures" ] || echo "proofs: $(paste -sd '|' "$output/figures" | sed 's/|/ | /g')"
    echo "time: $((SECONDS - started)) s"
    if [ "$what" = lint ]; then echo "lint: $failed failed"; else echo "$(total passed) passed, $failed failed"; fi
    [ "$failed" = 0 ]
    exit
}

if ! step 'setup' scripts/setup.sh; then
    note failed 1
    finish
fi
check 'tidy' scripts/tidy.sh
check 'tidy, its own test' scripts/tidy.sh --self-test
check 'licences' python3 scripts/licences.py
if command -v cargo-deny >/dev/null; then
    check 'cargo deny' cargo_deny
fi
check 'format' "$cargo" fmt --all --check
check 'clippy' "$cargo" clippy --quiet --all-targets -- -D warnings
check 'clippy, the engine alone' clippy_of_the_engine_alone
# Not among the default members: their tools take time to build.
if "$cargo" metadata --no-deps --format-version 1 2>/dev/null | grep -q '"name":"ringlane-benches"'; then
    check 'clippy, benches' "$cargo" clippy --quiet -p ringlane-benches --all-targets -- -D warnings
fi
[ "$what" = lint ] && finish
check 'documentation' env RUSTDOCFLAGS='-D warnings' "$cargo" doc --no-deps --quiet

# Tests make temporary directories. On a disk they see what users see; in memory, only half of it.
if [ -z "${TMPDIR:-}" ] && [ "$(stat -f -c %T /tmp)" = tmpfs ]; then
    mkdir -p "$PWD/target"
    TMPDIR="$(mktemp -d "$PWD/target/tmp.XXXXXX")"
    export TMPDIR
    trap 'rm -rf "$output" "$TMPDIR"' EXIT
fi
if step 'building the tests' build_tests; then
    (track=engine && run_engine && run_library) &
    engine=$!
    (track=proofs && run_proofs; run_buffered) &
    proofs=$!
    # Each ends well whatever it finds, for it notes that; one that was killed did not look at everything.
    for process in "$engine" "$proofs"; do
        wait "$process" || { note broken 'a track ended early' && note failed 1; }
    done
else
    note failed 1
fi
finish
