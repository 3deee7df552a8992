#!/usr/bin/env bash
# All tests and checks. One line for each step that is well; the whole output of each that is not.
# The last line is `N passed, N failed`: tests of all test binaries, and one more failure for each
# check, build or test binary that failed without counting itself. `lint` leaves the tests out.
#
# Bounds: RINGLANE_TEST_MINUTES (default 15) for running the tests, once they are built, and as much for each of the
# proofs behind them. A hang is a failure.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"
export CARGO_TERM_COLOR=never
cargo="${CARGO:-cargo}"
what="${1:-all}"
minutes="${RINGLANE_TEST_MINUTES:-15}"

output="$(mktemp -d)"
trap 'rm -rf "$output"' EXIT
passed=0
failed=0
ignored=0
broken=()
figures=()
started=$SECONDS

# step NAME COMMAND...: runs it; shows its output only if it fails.
step() {
    local name="$1" begin=$SECONDS
    shift
    if "$@" >"$output/step" 2>&1; then
        printf 'ok      %-34s %4d s\n' "$name" $((SECONDS - begin))
        return 0
    fi
    printf 'FAILED  %-34s %4d s\n' "$name" $((SECONDS - begin))
    sed 's/^/    /' "$output/step"
    broken+=("$name")
    return 1
}

check() {
    step "$@" || failed=$((failed + 1))
}

# The sum of one figure over all `test result:` lines.
sum() {
    sed -n "s/^test result:.* \([0-9][0-9]*\) $1.*/\1/p" "$output/tests" | awk '{ sum += $1 } END { print sum + 0 }'
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

# tests NAME COMMAND...: runs tests, counts them, and shows their output only if something failed.
tests() {
    local name="$1" begin=$SECONDS status=0
    shift
    timeout --kill-after=30 "$((minutes * 60))" "$@" >"$output/tests" 2>&1 || status=$?
    local counted succeeded
    counted=$(sum failed)
    succeeded=$(sum passed)
    passed=$((passed + succeeded))
    ignored=$((ignored + $(sum ignored)))
    # What could not run on this machine passes, and is not passed over in silence.
    grep -a '^did not run: ' "$output/tests" | sort -u | sed 's/^/        /'
    failed=$((failed + counted))
    if [ "$status" = 0 ] && [ "$counted" = 0 ] && [ "$succeeded" -gt 0 ]; then
        printf 'ok      %-34s %4d s\n' "$name" $((SECONDS - begin))
        # What could not run here says why.
        sed -n 's/^test \(.*\) \.\.\. ignored, \(no .*\)/        skipped \1: \2/p' "$output/tests"
        return
    fi
    printf 'FAILED  %-34s %4d s\n' "$name" $((SECONDS - begin))
    sed 's/^/    /' "$output/tests"
    case "$status" in
        124 | 137) broken+=("$name (stopped after $minutes minutes)") ;;
        *) broken+=("$name") ;;
    esac
    # A test binary that was killed or timed out prints no result; it must not pass for zero failures.
    [ "$counted" -gt 0 ] || failed=$((failed + 1))
}

# Everything on the backend that an engine chooses for itself; then all that opens engines once more for
# each of the others. What loops over all backends by itself then looks at that one only.
run_tests() {
    tests 'tests' env RINGLANE_TEST_BACKEND=io-uring "$cargo" test --quiet --no-fail-fast
    local backend
    for backend in plain plain-buffered; do
        tests "tests, backend $backend" env RINGLANE_TEST_BACKEND="$backend" \
            "$cargo" test --quiet --no-fail-fast -p ringlane -p ringlane-cli --tests
        tests "corruption, backend $backend" env RINGLANE_TEST_BACKEND="$backend" RINGLANE_CORRUPTION_CASES=0 \
            "$cargo" test --quiet --no-fail-fast -p ringlane-proof --test corruption
    done
}

# proof NAME COMMAND...: a check whose last line of output is its figures.
proof() {
    if step "$1" timeout --kill-after=30 "$((minutes * 60))" "${@:2}"; then
        # What happened how often stands between the first part and the last one.
        figures+=("$(tail -n 1 "$output/step" | sed 's/;.*;/;/')")
    else
        failed=$((failed + 1))
    fi
}

# A bounded part of what `make proof` runs for hours. The build is one of its own: what users get holds no faults.
# Without a canary set it does the same, so that seeds run on it as well.
run_proofs() {
    local target="${CARGO_TARGET_DIR:-target}/canaries"
    if ! step 'building the proofs' "$cargo" build --release --quiet -p ringlane-proof --features canaries \
        --target-dir "$target"; then
        failed=$((failed + 1))
        return
    fi
    proof 'simulator' "$target/release/ringlane-proof" sim --seeds 2000
    proof 'canaries' "$target/release/ringlane-proof" canaries
    proof 'exhaustive, every seventh point' "$target/release/ringlane-proof" exhaustive --operations 2 --stride 7
}

finish() {
    echo
    [ ${#broken[@]} = 0 ] || printf 'failed: %s\n' "${broken[@]}"
    [ "$ignored" = 0 ] || echo "ignored: $ignored"
    [ ${#figures[@]} = 0 ] || (IFS='|' && echo "proofs: ${figures[*]}" | sed 's/|/ | /g')
    echo "time: $((SECONDS - started)) s"
    if [ "$what" = lint ]; then echo "lint: $failed failed"; else echo "$passed passed, $failed failed"; fi
    [ "$failed" = 0 ]
    exit
}

if ! step 'setup' scripts/setup.sh; then
    failed=1
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
if step 'building the tests' "$cargo" test --quiet --no-run; then
    run_tests
    run_proofs
else
    failed=$((failed + 1))
fi
finish
