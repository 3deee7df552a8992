#!/usr/bin/env bash
# The proofs, for as long as they are given: MINUTES (default 60), about half of it for the simulator.
# One line of figures for each part; the last line counts parts passed and failed; a part
# that this machine cannot run says so. Seeds go on where FROM says
# (default: a number made of the date), so that no two days see the same ones.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"
cargo="${CARGO:-cargo}"
target="${CARGO_TARGET_DIR:-target}"
minutes="${MINUTES:-60}"
from="${FROM:-$(date +%Y%m%d)000000}"
scripts/setup.sh || exit 1

"$cargo" build --release --quiet -p ringlane-proof || exit 1
# A build of its own: what users get holds no faults.
"$cargo" build --release --quiet -p ringlane-proof --features canaries --target-dir "$target/canaries" || exit 1
proof="$target/release/ringlane-proof"
passed=0
failed=0
not_run=0

# part COMMAND...: runs it and shows its last line, or everything if it failed.
part() {
    local output status=0
    output="$("$@" 2>&1)" || status=$?
    if [ "$status" = 0 ]; then
        printf '%s\n' "$output" | tail -n 1
        passed=$((passed + 1))
    elif [ "$status" = 3 ]; then
        # Not on this machine: neither passed nor failed, and said.
        printf 'DID NOT RUN: %s\n' "$output"
        not_run=$((not_run + 1))
    else
        printf '%s\n' "$output"
        echo "FAILED: $*"
        failed=$((failed + 1))
    fi
}

# fuzz TARGET: a minute of it. Where it cannot run that is said once, and counts as nothing.
can_fuzz=yes
fuzz() {
    [ "$can_fuzz" = yes ] || return 0
    local output status=0
    output="$(scripts/fuzz.sh 60 "$1" 2>&1)" || status=$?
    case "$status" in
        0) passed=$((passed + 1)) ;;
        3) can_fuzz=no ;;
        *) failed=$((failed + 1)) ;;
    esac
    printf '%s\n' "$output"
}

end=$((SECONDS + minutes * 60))
part "$target/canaries/release/ringlane-proof" canaries
part "$proof" exhaustive
for canary in skip-flush acknowledge-early; do
    part "$target/canaries/release/ringlane-proof" blocklog --cuts 100 --canary "$canary"
done
part "$target/canaries/release/ringlane-proof" error-device --canary ignore-failure --rounds 20
# Rounds of all that goes on for ever, until the time is over.
round=0
while [ $SECONDS -lt $end ]; do
    # The first round is short, so that on a busy machine, too, everything gets its turn.
    part "$proof" sim --from $((from + round * 20000)) --seeds $((round == 0 ? 2000 : 20000))
    [ $SECONDS -lt $end ] || break
    part "$proof" kill --rounds 300 --seed $((from + round))
    [ $SECONDS -lt $end ] || break
    part "$proof" soak --minutes 3 --seed $((from + round))
    [ $SECONDS -lt $end ] || break
    part "$proof" blocklog --cuts 1000 --seed $((from + round))
    [ $SECONDS -lt $end ] || break
    part "$proof" error-device --rounds 5 --seed $((from + round))
    [ $SECONDS -lt $end ] || break
    part "$proof" corruption
    for target_name in frame manifest sidecar directory admin; do
        [ $SECONDS -lt $end ] && fuzz "$target_name"
    done
    round=$((round + 1))
done
[ "$not_run" = 0 ] || echo "not run on this machine: $not_run"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
