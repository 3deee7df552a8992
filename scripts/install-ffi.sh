#!/usr/bin/env bash
# Installs the C library: libringlane.so.VERSION with its links, libringlane.a, the headers, and ringlane.pc.
#
#   scripts/install-ffi.sh PREFIX LIBRARY_DIRECTORY
#
# LIBRARY_DIRECTORY has what cargo has built: libringlane.so and libringlane.a. Debug information stays there.
# PKG_PREFIX: the prefix that ringlane.pc says, where it is not PREFIX: for a package that is unpacked elsewhere.
set -eu
if [ "$#" != 2 ]; then
    echo 'usage: scripts/install-ffi.sh PREFIX LIBRARY_DIRECTORY' >&2
    exit 2
fi
# Paths are the caller's.
prefix="$(realpath -m "$1")" libraries="$(realpath -m "$2")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for file in libringlane.so libringlane.a; do
    [ -r "$libraries/$file" ] || { echo "install-ffi: $libraries/$file is not there; run make library" >&2; exit 1; }
done
told="${PKG_PREFIX:-$prefix}"

# The first version in the workspace's manifest is that of all its members.
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)"
soname="$(readelf -dW "$libraries/libringlane.so" | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')"
[ -n "$version" ] && [ -n "$soname" ] || { echo 'install-ffi: no version, or no soname' >&2; exit 1; }

install -d "$prefix/lib/pkgconfig" "$prefix/include"
# What is there may be in use: the new library takes its place in one step.
install -m 755 "$libraries/libringlane.so" "$prefix/lib/.libringlane.so.new"
strip --strip-debug "$prefix/lib/.libringlane.so.new"
mv -f "$prefix/lib/.libringlane.so.new" "$prefix/lib/libringlane.so.$version"
ln -sfn "libringlane.so.$version" "$prefix/lib/$soname"
ln -sfn "$soname" "$prefix/lib/libringlane.so"
install -m 644 "$libraries/libringlane.a" "$prefix/lib/libringlane.a"
strip --strip-debug "$prefix/lib/libringlane.a"
for header in ringlane.h ringlane.hpp; do
    [ ! -e "include/$header" ] || install -m 644 "include/$header" "$prefix/include/$header"
done
# Whatever stands in a path stands for itself.
escaped="$(printf '%s' "$told" | sed 's/[&|\\]/\\&/g')"
sed -e "s|@PREFIX@|$escaped|" -e "s|@VERSION@|$version|" ffi/ringlane.pc.in >"$prefix/lib/pkgconfig/ringlane.pc"
chmod 644 "$prefix/lib/pkgconfig/ringlane.pc"
