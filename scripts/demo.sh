#!/usr/bin/env bash
# demo.sh: from a fresh clone to a solved Sudoku: installs what is missing, builds, exports the small trained model in
# demo/sudoku6-llada as fp32 and int8 programs, and decodes held-out puzzles on the screen.
set -eu
cd "$(dirname "$0")/.."
build=build/release

scripts/install_deps.sh --build
cmake --preset release >/dev/null
cmake --build --preset release --parallel --target diffulex-edge
for quantization in none int8-dynamic; do
    program=$build/sudoku6-$quantization.pte
    [ -e "$program" ] || "$build/cli/diffulex-edge" export --hf-model-path demo/sudoku6-llada --output-path "$program" \
        --quantization "$quantization"
done

exec "$build/cli/diffulex-edge" sudoku "$build/sudoku6-int8-dynamic.pte" demo/sudoku6-llada/eval/heldout.jsonl "$@"
