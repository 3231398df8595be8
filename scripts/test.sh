#!/usr/bin/env bash
# test.sh [--core]: everything that CI runs, from a fresh clone to a summary line; exit status 1 when a step failed.
#   --core   leave out the Python tests that need PyTorch (no large download)
# Logs lie in build/logs; the end of a failed step's log is printed, and under a step that passed what it did not test.
# JOBS sets the parallel jobs (default: all cores).
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

requirements=tests/requirements.txt oracles=all
case "${1:-}" in
--core) requirements=tests/requirements-core.txt oracles=core ;;
"") ;;
*)
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
    ;;
esac

jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
tests=$((jobs + 1)) # at a time: some of them wait
logs=build/logs
mkdir -p "$logs"
export CTEST_OUTPUT_ON_FAILURE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A package that a test compares with and that is missing is a failure here (tests/py/oracles.py).
export DLX_REQUIRE_ORACLES=$oracles
passed=0 failed=0 skipped=0
declare -A result seconds

# report NAME RESULT TEXT
report() {
    result[$1]=$2
    printf '%-22s %-8s %s\n' "$1" "$2" "$3"
}

# summary LOG: counts, and indented below them what was not tested.
summary() {
    python3 tools/summarise_log.py "$1" | sed '2,$s/^/    /'
}

# skip NAME REASON
skip() {
    skipped=$((skipped + 1))
    report "$1" skipped "$2"
}

# step NAME "STEPS IT NEEDS" COMMAND...: runs the command with its output in build/logs/NAME.log.
step() {
    local name=$1 needs=$2 log=$logs/$1.log start=$SECONDS need
    shift 2
    for need in $needs; do
        if [ "${result[$need]:-}" != passed ]; then
            skip "$name" "needs $need, which is ${result[$need]:-absent}"
            return
        fi
    done
    if "$@" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        seconds[$name]=$((SECONDS - start))
        report "$name" passed "${seconds[$name]} s  $(summary "$log")"
    else
        failed=$((failed + 1))
        report "$name" FAILED "$((SECONDS - start)) s  $(summary "$log")"
        echo "    from $log:"
        { grep -E 'error:|undefined reference|[*]{3}' "$log" | head -n 20; echo ...; tail -n 40 "$log"; } | sed 's/^/    /'
    fi
}

# show NAME "STEPS IT NEEDS" COMMAND...: what a command prints, which cannot fail the run.
show() {
    local name=$1 needs=$2 log=$logs/$1.log start=$SECONDS need
    shift 2
    for need in $needs; do
        [ "${result[$need]:-}" = passed ] || return 0
    done
    "$@" >"$log" 2>"$log.errors" </dev/null || echo "ended with status $?; see $log.errors" >>"$log"
    printf '%-22s %-8s %s\n' "$name" shown "$((SECONDS - start)) s"
    sed 's/^/    /' "$log"
}

# build PRESET [CMAKE OPTIONS]
build() {
    cmake --preset "$@" && cmake --build --preset "$1" --parallel "$jobs"
}

# tests PRESET [CTEST OPTIONS]: no test at all counts as a failure.
tests() {
    local preset=$1
    shift
    ctest --preset "$preset" --parallel "$tests" "$@"
    local status=$?
    left_out "$preset"
    return $status
}

# left_out PRESET: what the tests of the last run say they did not test. ctest keeps the output of those that passed here.
left_out() {
    grep -hE '^(SKIPPED: |not run on this CPU: )' "build/$1/Testing/Temporary/LastTest.log" | sort -u
}

# Modules are compiled when a test imports them, which most are not.
make_python_environment() {
    local stamp=build/venv/installed
    if ! cmp -s <(cat tests/requirements*.txt; echo "$requirements") "$stamp"; then
        rm -rf build/venv
        python3 -m venv build/venv && build/venv/bin/pip install -q --no-compile -r "$requirements" || return 1
        # What does not install (no wheel for this Python or C library) is missed by the tests that need it.
        [ "$oracles" = core ] || build/venv/bin/pip install -q --no-compile --no-deps -r tests/requirements-qnn.txt
        [ "$oracles" = core ] || build/venv/bin/pip install -q --no-compile --no-deps --target build/venv/other \
            -r tests/requirements-other.txt
        (cat tests/requirements*.txt; echo "$requirements") >"$stamp"
    fi
}

# It is made while other steps run: most of it is waiting for the network and the disk.
python_environment() {
    wait "$environment"
    local status=$?
    cat "$logs/python-environment.making"
    return $status
}

# What imports PyTorch, coremltools or ExecuTorch's exporter takes ten seconds for it in every process: those files run in one, beside
# the workers that have the rest. What failed is printed last.
python_tests() {
    local apart pytest status others
    mapfile -t apart < <(grep -lE 'oracle\("(torch|executorch\.|coremltools|transformers)|from coreml_part' tests/py/test_*.py)
    pytest=(env DLX_BUILD_DIR="$PWD/build/release" DLX_CLI="$PWD/build/release/cli/diffulex-edge" PYTHONPATH="$PWD/python"
        DLX_OTHER_EXECUTORCH="$PWD/build/venv/other" build/venv/bin/python -m pytest -q -rs --durations=20 -p no:cacheprovider)
    "${pytest[@]}" "${apart[@]}" >"$logs/python-tests.apart" 2>&1 &
    beside=$!
    "${pytest[@]}" -n "$jobs" --dist loadfile "${apart[@]/#/--ignore=}" --ignore=tests/py/test_wasm.py tests/py >"$logs/python-tests.workers" 2>&1
    status=$?
    wait "$beside"
    others=$?
    beside=
    if [ $status = 0 ]; then cat "$logs/python-tests.workers" "$logs/python-tests.apart"
    else cat "$logs/python-tests.apart" "$logs/python-tests.workers"; fi
    [ $status = 0 ] && [ $others = 0 ]
}

# The thread sanitizer needs a layout of the address space that some kernels randomise away.
thread_tests() {
    local fixed=()
    setarch -R true 2>/dev/null && fixed=(setarch -R)
    "${fixed[@]}" ctest --preset tsan --parallel "$tests"
    local status=$?
    left_out tsan
    return $status
}

step dependencies "" scripts/install_deps.sh
# The demonstration's server, from its first line to its end by a signal.
served_demo() {
    local out=$logs/demo-serve.out address served status
    scripts/demo.sh --serve --port 0 >"$out" &
    served=$!
    until address=$(sed -n 's/^listening on //p' "$out") && [ -n "$address" ]; do
        kill -0 $served 2>/dev/null || return 1
        sleep 0.2
    done
    python3 - "$address" <<'EOF'
import json
import sys
import urllib.request

question = {"messages": [{"role": "user", "content": "What is 347 + 285?"}]}
with urllib.request.urlopen(sys.argv[1] + "/v1/chat/completions", json.dumps(question).encode()) as answer:
    said = json.load(answer)["choices"][0]["message"]["content"]
with urllib.request.urlopen(sys.argv[1]) as page:
    assert b"DiffuLex Edge" in page.read()
assert said == "632", said
EOF
    status=$?
    kill $served
    wait $served && return $status
}

set -m # a process group of its own, which ends with this script
make_python_environment >"$logs/python-environment.making" 2>&1 </dev/null &
environment=$!
set +m
beside= # a process of python_tests
trap 'kill -- "-$environment" $beside 2>/dev/null' EXIT
step layers "" python3 tools/check_layers.py
step style "" python3 tools/check_style.py
step release-build "" build release
step unit-tests release-build tests release -L unit
step fuzz-corpus release-build tests release -L fuzz
step package-tests release-build tests release -L package
step demo release-build scripts/demo.sh --count 2
step demo-serve release-build served_demo
step docs release-build python3 tools/check_docs.py --cli build/release/cli/diffulex-edge
step python-environment "" python_environment
step python-tests "release-build python-environment" python_tests
show bench "release-build python-environment" timeout 300 build/venv/bin/python bench/run.py --short --rounds 2
step clang-build "" build clang
step clang-tests clang-build tests clang -L unit -LE 'long|failures'
step asan-build "" build asan
step asan-tests asan-build tests asan
step tsan-build "" build tsan
step tsan-tests tsan-build thread_tests
# What does not ask for DLX_RUNTIME_ONLY is compiled already.
step runtime-only-build "" build runtime-only \
    "-DCMAKE_C_COMPILER_LAUNCHER=$PWD/tests/py/compiled_before.sh;$PWD;$PWD/build/release"
step runtime-only-tests runtime-only-build tests runtime-only
if command -v qemu-aarch64 >/dev/null && command -v aarch64-linux-gnu-gcc >/dev/null; then
    step aarch64-libraries "" scripts/aarch64_root.sh
    step aarch64-build aarch64-libraries build aarch64
    step aarch64-tests aarch64-build tests aarch64
else
    skip aarch64-build "needs gcc-aarch64-linux-gnu and qemu-user"
    skip aarch64-tests "needs aarch64-build"
fi

# A module that multiplies numbers of 128 bits links only where all of the tools are there.
can_build_wasm() {
    echo 'int main(int n, char **a) { (void)a; return (int)((__int128)n * n >> 64); }' |
        clang --target=wasm32-wasi -nostdlibinc -isystem /usr/include/wasm32-wasi -x c - -o "$logs/probe.wasm"
}
# The kernels' tests, and decodes of files that this machine's program wrote.
wasm_tests() {
    tests wasm && env DLX_WASM="$PWD/build/wasm/cli/diffulex-edge.wasm" DLX_CLI="$PWD/build/release/cli/diffulex-edge" \
        PYTHONPATH="$PWD/python" build/venv/bin/python -m pytest -q -rs -p no:cacheprovider tests/py/test_wasm.py
}
if can_build_wasm >/dev/null 2>&1; then
    step wasm-build python-environment build wasm -DDLX_BUILD_TESTS=ON -DDLX_TESTS_WITH=kernels \
        "-DDLX_WASM_ENGINE=$PWD/build/venv/bin/python;$PWD/tests/wasm/run.py"
    step wasm-tests "release-build wasm-build" wasm_tests
else
    skip wasm-build "needs clang, lld, wasi-libc and libclang-rt-dev-wasm32"
    skip wasm-tests "needs wasm-build"
fi

slowest() {
    for name in "${!seconds[@]}"; do echo "${seconds[$name]} $name"; done | sort -rn | head -n 5 |
        awk '{printf "%s%s %d s", (NR > 1 ? ", " : ""), $2, $1}'
}
echo "total time $SECONDS s; slowest: $(slowest)"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
