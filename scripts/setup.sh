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

# install_packages PACKAGE...: with apt-get; what it says is shown only if it fails.
install_packages() {
    local as_root=() log status=0
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    log="$(mktemp)"
    { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; } \
        >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 20 "$log" >&2
    rm -f "$log"
    return "$status"
}

# ----- packages of the system: a linker for Rust; what the C library and the package for Python are tested with -----

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v c++ >/dev/null || packages+=(g++)
command -v pkg-config >/dev/null || packages+=(pkg-config)
command -v valgrind >/dev/null || packages+=(valgrind)
command -v python3 >/dev/null || packages+=(python3)
if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "please install: compilers for C and C++ (cc, c++), pkg-config, valgrind and python3; missing: ${packages[*]}"
    echo "setup: installing ${packages[*]}" >&2
    install_packages "${packages[@]}" || fail "please install by hand: ${packages[*]}"
fi

# ----- the block log: a device that records, and file systems on it; the proofs say where it cannot run -----

if [ "$(id -u)" = 0 ] && [ -e /dev/fuse ] && [ -e /dev/loop-control ] && command -v apt-get >/dev/null; then
    packages=()
    command -v qemu-storage-daemon >/dev/null || packages+=(qemu-utils)
    command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
    command -v mkfs.xfs >/dev/null || packages+=(xfsprogs)
    if [ ${#packages[@]} -gt 0 ]; then
        echo "setup: installing ${packages[*]}" >&2
        install_packages "${packages[@]}" || echo "setup: without ${packages[*]} the block log cannot run" >&2
    fi
    # Debian 12 has it in another package than later ones.
    if ! command -v qemu-storage-daemon >/dev/null; then
        echo "setup: installing qemu-system-common" >&2
        install_packages qemu-system-common || echo "setup: without qemu-storage-daemon the block log cannot run" >&2
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
