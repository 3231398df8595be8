#!/usr/bin/env bash
# demo.sh [--count N]: from a fresh clone to solved Sudoku puzzles. Installs what is missing, builds, exports the small
# trained model in demo/sudoku6-llada as float32 and as int8 program, draws three puzzles while they are decoded, and then
# solves all 500 held-out puzzles (or the first N) with both programs: accuracy and time per puzzle for one token a pass
# and for every token accepted that is surer than 0.99. All 500 take about two and a half minutes on two cores.
set -eu
cd "$(dirname "$0")/.."
build=build/release
puzzles=demo/sudoku6-llada/eval/heldout.jsonl
[ $# -gt 0 ] || set -- --all

scripts/install_deps.sh --build
cmake --preset release >/dev/null
cmake --build --preset release --parallel --target diffulex-edge
program=$build/cli/diffulex-edge
for quantization in none int8-dynamic; do
    "$program" export --hf-model-path demo/sudoku6-llada --output-path "$build/sudoku6-$quantization.pte" \
        --quantization "$quantization"
done

echo
"$program" sudoku "$build/sudoku6-int8-dynamic.pte" "$puzzles" --count 3 --show 3
for quantization in none int8-dynamic; do
    echo
    case $quantization in
    none) echo "float32 program" ;;
    *) echo "int8 program" ;;
    esac
    "$program" sudoku "$build/sudoku6-$quantization.pte" "$puzzles" --show 0 "$@"
done
