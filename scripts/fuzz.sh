#!/usr/bin/env bash
# fuzz.sh [SECONDS]: builds every fuzzer with clang and runs each for SECONDS (default 60), two at a time, starting from
# tests/fuzz/corpus/<name>. New inputs go to build/fuzz/corpus/<name>, findings to build/fuzz/findings. Fails on a finding.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
case "$seconds" in
'' | *[!0-9]*)
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
    ;;
esac

cmake --preset fuzz >/dev/null
fuzzers=()
for source in tests/fuzz/fuzz_*.c; do
    [ -e "$source" ] && fuzzers+=("$(basename "$source" .c)")
done
if [ ${#fuzzers[@]} = 0 ]; then
    echo "tests/fuzz holds no fuzzer" >&2
    exit 1
fi
cmake --build --preset fuzz --parallel 2 --target "${fuzzers[@]}" >build/fuzz/build.log || {
    cat build/fuzz/build.log
    exit 1
}

# run FUZZER: one time-limited run; memory and single inputs are limited too.
run() {
    local fuzzer=$1 name=${1#fuzz_} status=0
    mkdir -p "build/fuzz/corpus/$name" build/fuzz/findings
    UBSAN_OPTIONS=print_stacktrace=1 "build/fuzz/tests/fuzz/$fuzzer" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/findings/$name-" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" \
        >"build/fuzz/$fuzzer.log" 2>&1 || status=$?
    if [ $status = 0 ]; then
        echo "$fuzzer: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$fuzzer.log") runs, no finding"
    else
        echo "$fuzzer: FAILED, status $status"
        tail -n 40 "build/fuzz/$fuzzer.log"
    fi
    return $status
}
export -f run
export seconds
printf '%s\n' "${fuzzers[@]}" | xargs -P 2 -I{} bash -c 'run {}'
