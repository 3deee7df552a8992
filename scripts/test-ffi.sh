#!/usr/bin/env bash
# The tests of the C library, in C and C++, as applications have it: compiled against the header, linked to the library.
# Prints the `test result:` line of each program, and the whole output of those that fail; ends with 1 if one does.
#
#   scripts/test-ffi.sh [LIBRARY_DIRECTORY]     default: target/release
#
# Each program runs plainly and under AddressSanitizer and UBSan; a part of them under valgrind. Then the library is
# installed into a directory of its own, and the examples are compiled against that with pkg-config, shared and static.
# CC and CXX name the compilers. RINGLANE_TEST_BACKEND: the engine's backend; valgrind does not know io_uring, and takes
# `plain`.
set -u
libraries="$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../target/release}")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cc="${CC:-cc}" cxx="${CXX:-c++}"
warnings=(-Wall -Wextra -Werror -pedantic -g)
# No program takes half as long; under valgrind each test takes some seconds.
seconds_max=150
failed=0
tracks=()

for tool in "$cc" "$cxx" pkg-config nm readelf strip; do
    command -v "$tool" >/dev/null || { echo "test-ffi: $tool is not there: install it, or name another one" >&2; exit 1; }
done
for file in libringlane.so libringlane.a; do
    [ -r "$libraries/$file" ] || { echo "test-ffi: $libraries/$file is not there: run make library" >&2; exit 1; }
done

# Tests make directories below TMPDIR. On a disk they see what users see; in memory, only half of it.
if [ -z "${TMPDIR:-}" ] && [ "$(stat -f -c %T /tmp)" = tmpfs ]; then
    mkdir -p target
    TMPDIR="$PWD/target"
fi
work="$(mktemp -d "${TMPDIR:-/tmp}/ringlane-ffi.XXXXXX")"
trap 'rm -rf "$work"' EXIT
export TMPDIR="$work/tmp"
mkdir "$work/lib" "$TMPDIR"
ln -s "$libraries/libringlane.so" "$work/lib/libringlane.so"
ln -s "$libraries/libringlane.so" "$work/lib/libringlane.so.0"
to_library=(-Iinclude "-L$work/lib" -lringlane "-Wl,-rpath,$work/lib" -pthread)

# told NAME STATUS: the results of a program whose output is in $work/$track/output, or all of it if it has failed.
told() {
    local result
    result="$(grep -a '^test result:' "$work/$track/output")"
    if [ "$2" = 0 ] && [ -n "$result" ]; then
        printf '%s\n' "$result"
        return
    fi
    failed=1
    printf -- '----- %s: status %s\n' "$1" "$2"
    cat "$work/$track/output"
    # Who was killed, or did not compile, has told no figures.
    if ! grep -q ' [1-9][0-9]* failed' <<<"$result"; then
        echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out'
    fi
}

# run NAME COMMAND...
run() {
    local name="$1"
    shift
    timeout --kill-after=5 "$seconds_max" "$@" >"$work/$track/output" 2>&1
    told "$name" "$?"
}

# compile NAME COMMAND...: 1 if it does not.
compile() {
    local name="$1"
    shift
    "$@" >"$work/$track/output" 2>&1 && return
    told "$name" "$?"
    return 1
}

# compile_test NAME FLAG...: a test in C or C++, into $work/TRACK/NAME.
compile_test() {
    local name="$1" command
    shift
    if [ -f "ffi/tests/c/$name.c" ]; then
        command=("$cc" -std=c11 "ffi/tests/c/$name.c")
    else
        command=("$cxx" -std=c++17 "ffi/tests/cpp/$name.cpp")
    fi
    compile "$name" "${command[@]}" "${warnings[@]}" "$@" "${to_library[@]}" -o "$work/$track/$name"
}

# The first programs are those that say most, should the others hang.
programs=(layout rules records queue groups transactions lifetime fork end)
for file in ffi/tests/c/*.c ffi/tests/cpp/*.cpp; do
    name="$(basename "${file%.*}")"
    [ -f "$file" ] && [[ " ${programs[*]} " != *" $name "* ]] && programs+=("$name")
done

# valgrind_run PROGRAM FILTER
valgrind_run() {
    # What is possibly lost is the standard library's: it knows the main thread by the middle of a block.
    RINGLANE_TEST_BACKEND=plain RINGLANE_TEST_SECONDS=$seconds_max run "$1 under valgrind" \
        valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite "$work/$track/$1" "$2"
}

under_valgrind() {
    if ! command -v valgrind >/dev/null; then
        echo 'did not run: the tests in C under valgrind: it is not installed'
        return
    fi
    # Side by side: each begins by reading what the library has for debuggers, and then waits for the disk.
    local runs=(
        'wrapper _and_' 'rules refused' 'records everything_of_a_record' 'queue batch' 'records batch' 'groups acknowledged'
        'transactions at_once' 'lifetime may_be_freed' 'wrapper a_function' 'wrapper an_object' 'consumers found'
        'consumers piece'
    )
    local programs_of="$track" sides=() side at program filter
    for side in 0 1; do
        (
            failed=0 track="valgrind-$side"
            mkdir "$work/$track"
            for ((at = side; at < ${#runs[@]}; at += 2)); do
                read -r program filter <<<"${runs[at]}"
                ln -sf "$work/$programs_of/$program" "$work/$track/$program"
                valgrind_run "$program" "$filter"
            done
            exit "$failed"
        ) >"$work/valgrind-$side.said" 2>&1 &
        sides+=("$!")
    done
    for side in 0 1; do
        wait "${sides[side]}" || failed=1
        cat "$work/valgrind-$side.said"
    done
}

plainly() {
    local name
    run symbols ffi/tests/symbols.sh "$work/lib/libringlane.so"
    for name in "${programs[@]}"; do
        compile_test "$name" && run "$name" "$work/$track/$name"
    done
    under_valgrind
    installed
}

with_sanitizers() {
    local name
    for name in "${programs[@]}"; do
        if [ "$name" = fork ]; then
            echo 'did not run: the tests of fork under AddressSanitizer: a child cannot use its allocator'
            continue
        fi
        compile_test "$name" -fsanitize=address,undefined -fno-sanitize-recover=all &&
            run "$name under AddressSanitizer and UBSan" "$work/$track/$name"
    done
}

# What the examples say, in C as in C++.
orders='order-1 is at offset 0, on the device
4 orders more, their numbers add up to 14
working on order-1, paid
working on order-2, open
working on order-3, open
working on order-4, open
working on order-5, open
shipping order-1 in EUR
5 invoices'

# says_orders PROGRAM: runs an example in a new directory, and compares.
says_orders() {
    rm -rf "$TMPDIR/orders"
    local said
    said="$(LD_LIBRARY_PATH="$work/installed/lib" timeout 60 "$1" "$TMPDIR/orders")" || return 1
    diff <(echo "$orders") <(echo "$said")
}

# install_step NAME COMMAND...: counts.
install_step() {
    local name="$1"
    shift
    if "$@" >"$work/step" 2>&1; then
        steps=$((steps + 1))
    else
        broken=$((broken + 1))
        { echo "installed: $name"; sed 's/^/    /' "$work/step"; } >>"$work/$track/output"
    fi
}

is_complete() {
    local lib="$work/installed/lib"
    [ "$(readlink "$lib/libringlane.so.0")" = "libringlane.so.$version" ] && [ -L "$lib/libringlane.so" ] &&
        [ -f "$lib/libringlane.a" ] && [ -f "$work/installed/include/ringlane.h" ] || return 1

    cmp include/ringlane.h "$work/installed/include/ringlane.h" || return 1
    # Without debug information, and with all that it shows.
    ! readelf -SW "$lib/libringlane.so" | grep -q '\.debug_info' || return 1
    ffi/tests/symbols.sh "$lib/libringlane.so"
}

installed() {
    local version steps=0 broken=0 state=ok language file flags
    version="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)"
    : >"$work/$track/output"
    install_step 'scripts/install-ffi.sh' scripts/install-ffi.sh "$work/installed" "$libraries"
    # Over what is there.
    install_step 'scripts/install-ffi.sh again' scripts/install-ffi.sh "$work/installed" "$libraries"
    install_step 'what it has installed' is_complete
    export PKG_CONFIG_PATH="$work/installed/lib/pkgconfig"
    install_step 'the version' test "$(pkg-config --modversion ringlane)" = "$version"
    for file in ffi/examples/c/orders.c ffi/examples/cpp/orders.cpp; do
        [ -f "$file" ] || continue
        language=("$cc" -std=c11)
        [ "${file##*.}" = c ] || language=("$cxx" -std=c++17)
        read -ra flags <<<"$(pkg-config --cflags --libs ringlane)"
        install_step "compiling $file" "${language[@]}" "${warnings[@]}" "$file" "${flags[@]}" -o "$work/shared"
        install_step "$file, shared" says_orders "$work/shared"
        # Both libraries are there: this one by its file's name.
        read -ra flags <<<"$(pkg-config --static --cflags --libs ringlane)"
        flags=("${flags[@]/#-lringlane/-l:libringlane.a}")
        install_step "compiling $file, static" "${language[@]}" "${warnings[@]}" "$file" "${flags[@]}" -o "$work/static"
        install_step "$file, static, does not need the shared library" no_shared "$work/static"
        install_step "$file, static" says_orders "$work/static"
    done
    [ "$broken" = 0 ] || state=FAILED
    echo "test result: $state. $steps passed; $broken failed; 0 ignored; 0 measured; 0 filtered out" >>"$work/$track/output"
    told 'the installed library' "$broken"
}

no_shared() {
    [ -x "$1" ] && ! readelf -dW "$1" | grep -q 'NEEDED.*libringlane'
}

# Two at a time: much of a test is waiting for the disk.
for track in plainly with_sanitizers; do
    mkdir "$work/$track"
    ("$track"; exit "$failed") >"$work/$track.said" 2>&1 &
    tracks+=("$!")
done
for number in 0 1; do
    wait "${tracks[$number]}" || failed=1
done
cat "$work/plainly.said" "$work/with_sanitizers.said"
exit "$failed"
