#!/usr/bin/env bash
# Runs `ringlane demo` in a fresh directory on a real disk, and removes that directory.
#
#   scripts/demo.sh PATH/TO/ringlane
#
# INPUT: the file whose lines are sent; default: the machine's package database, or another real file.
# DEMO_DIR: where to make the directory; default: the first place that is on a disk.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program="$(realpath "$1")"

if [ -n "${INPUT:-}" ]; then
    [ -r "$INPUT" ] || { echo "demo: $INPUT cannot be read; choose another file with INPUT=" >&2; exit 1; }
    input="$INPUT"
else
    # The package databases of Debian, Alpine and Arch, a list of words, and at last what is surely there.
    for input in /var/lib/dpkg/status /lib/apk/db/installed /var/log/pacman.log /usr/share/dict/words Cargo.lock; do
        [ -r "$input" ] && [ -s "$input" ] && break
    done
fi
input="$(realpath "$input")"

is_on_disk() {
    [ -d "$1" ] && [ -w "$1" ] || return 1
    case "$(stat -f -c %T "$1")" in tmpfs | ramfs) return 1 ;; esac
}

parent="${DEMO_DIR:-}"
if [ -z "$parent" ]; then
    for parent in target /var/tmp "$HOME" .; do
        is_on_disk "$parent" && break
    done
fi
directory="$(mktemp -d "$parent/ringlane-demo.XXXXXX")"
trap 'rm -rf "$directory"' EXIT
# An engine that somebody works with must not become the demonstration's.
unset RINGLANE_DIR
"$program" demo --dir "$directory/engine" --input "$input"
