#!/usr/bin/env bash
# Fuzzes one target, or each of them, for SECONDS (default 60): scripts/fuzz.sh [SECONDS [TARGET]]
# Begins with fuzz/corpus; what it adds goes to target/fuzz, what fails to fuzz/artifacts. Where fuzzing
# cannot run it says so and exits with 3. Ordinary tests replay the corpora without any of this.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"
cargo="${CARGO:-cargo}"
target_dir="${CARGO_TARGET_DIR:-target}/fuzz"
seconds="${1:-60}"
targets="${2:-frame manifest sidecar directory admin abi}"

if ! "$cargo" +nightly --version >/dev/null 2>&1 || ! "$cargo" fuzz --version >/dev/null 2>&1; then
    echo 'fuzzing: skipped, it needs: rustup toolchain install nightly && cargo install cargo-fuzz'
    exit 3
fi
output="$(mktemp -d)"
trap 'rm -rf "$output"' EXIT
for name in $targets; do
    # What the target makes on the way need not reach a disk.
    [ ! -w /dev/shm ] || { TMPDIR="$(mktemp -d /dev/shm/ringlane-fuzz.XXXXXX)" && export TMPDIR; }
    mkdir -p "$target_dir/$name"
    status=0
    "$cargo" +nightly fuzz run --fuzz-dir fuzz "$name" "$target_dir/$name" "fuzz/corpus/$name" -- \
        -max_total_time="$seconds" -max_len=1024 -timeout=30 -rss_limit_mb=3000 >"$output/log" 2>&1 || status=$?
    [ -z "${TMPDIR:-}" ] || case "$TMPDIR" in /dev/shm/ringlane-fuzz.*) rm -rf "$TMPDIR" ;; esac
    if [ "$status" != 0 ]; then
        cat "$output/log"
        echo "fuzzing $name: failed; the input is in fuzz/artifacts/$name"
        exit 1
    fi
    echo "fuzzing $name: $(grep -a '^Done ' "$output/log" | tail -n 1 | tr 'D' 'd')"
done
