#!/usr/bin/env bash
# Makes sure that everything is there to build and test; installs what it can, quietly.
# Says what is missing where it cannot. Changes nothing on a machine that has it all.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"
cargo="${CARGO:-cargo}"

fail() {
    echo "setup: $*" >&2
    exit 1
}

# ----- packages of the system: a linker for Rust, Python for the licence check -----

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v python3 >/dev/null || packages+=(python3)
if [ ${#packages[@]} -gt 0 ]; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    command -v apt-get >/dev/null || fail "please install: a C compiler (cc) and python3; missing: ${packages[*]}"
    echo "setup: installing ${packages[*]}" >&2
    log="$(mktemp)"
    trap 'rm -f "$log"' EXIT
    if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"; } \
        >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "please install by hand: ${packages[*]}"
    fi
fi

# ----- Rust -----

command -v "$cargo" >/dev/null ||
    fail "cargo is not there; install Rust 1.95 or newer with rustup, open a new shell, and run this again"
wanted="$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)"
have="$("$cargo" --version | awk '{ print $2 }')"
[ "$(printf '%s\n%s\n' "$wanted" "${have%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
    fail "cargo is version $have, $wanted or newer is needed; run: rustup update stable"

for component in clippy rustfmt; do
    case "$component" in clippy) check=clippy ;; rustfmt) check=fmt ;; esac
    "$cargo" "$check" --version >/dev/null 2>&1 && continue
    command -v rustup >/dev/null || fail "cargo $check is not there; install the component $component of Rust"
    echo "setup: installing $component" >&2
    rustup --quiet component add "$component" || fail "rustup could not add $component"
done
