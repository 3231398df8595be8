#!/usr/bin/env bash
# demo.sh [--count N | --all] [--cpu NAME] [--serve [--port N]]: from a fresh clone to solved Sudoku puzzles and a short
# conversation. Installs what is missing, builds, exports the two small trained models of this repository, draws puzzles while
# they are solved, compares two ways to accept tokens on 25 held-out puzzles with an int8 and a float32 program, and asks the
# dialogue model.
#   --count N   so many puzzles instead of 25; --all: all 500, several minutes
#   --cpu NAME  kernels, as diffulex-edge has them; avx2 shows what a machine without AVX-512 does
#   --serve     no puzzles: serves the dialogue model, for a browser and for OpenAI's clients; --port N instead of 8080
# Ctrl-C ends it; what was finished is printed.
set -eu
cd "$(dirname "$0")/.."
build=build/release
puzzles=demo/sudoku6-llada/eval/heldout.jsonl
count=(--count 25) cpu=() port=(--port 8080) serve=0
while [ $# -gt 0 ]; do
    case "$1" in
    --all) count=(--all) ;;
    --serve) serve=1 ;;
    --count | --cpu | --port)
        [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }
        if [ "$1" = --cpu ]; then
            cpu=(--cpu "$2")
        elif [ "$1" = --port ]; then
            port=(--port "$2")
        else
            [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || { echo "--count: expected a number of puzzles, got '$2'" >&2; exit 2; }
            count=(--count "$2")
        fi
        shift
        ;;
    *)
        sed -n '2,9s/^# //p' "$0" >&2
        exit 2
        ;;
    esac
    shift
done

scripts/install_deps.sh --build
cmake --preset release >/dev/null
cmake --build --preset release --parallel --target diffulex-edge
program=$build/cli/diffulex-edge

# export_demo MODEL QUANTIZATION: prints the name of the program that it made of demo/MODEL.
export_demo() {
    local file=$build/$1-$2.pte
    "$program" export "demo/$1" "$file" --quantization "$2" >&2
    echo "$file"
}
heading() {
    printf '\n---- %s\n\n' "$1"
}

if [ $serve = 1 ]; then
    dialog=$(export_demo dialog-sdar int8-dynamic)
    heading "the dialogue model over HTTP: open the address in a browser, or see docs/SERVER.md; Ctrl-C ends it"
    exec "$program" serve "$dialog" "${cpu[@]}" "${port[@]}" --model-name dialog
fi

heading "Sudoku: every token that is surer than 0.99 is accepted, a few passes a puzzle"
small=$(export_demo sudoku6-llada int8-dynamic)
"$program" sudoku "$small" "$puzzles" "${cpu[@]}" --threshold 0.99 --count 3 --show 3
heading "the same model, one token a pass"
"$program" sudoku "$small" "$puzzles" "${cpu[@]}" --steps 48 --count 1 --show 1
heading "both rules, int8 program"
"$program" sudoku "$small" "$puzzles" "${cpu[@]}" --show 0 "${count[@]}"
heading "both rules, float32 program"
large=$(export_demo sudoku6-llada none)
"$program" sudoku "$large" "$puzzles" "${cpu[@]}" --show 0 "${count[@]}"

heading "a conversation, int8 program"
dialog=$(export_demo dialog-sdar int8-dynamic)
questions=("What is 347 + 285?" "Add 52 to that." "Sort these words: shop, actor, ivy, velvet" "And in reverse order?"
    "What date is 9 days before February 12?")
paste -d '\n' <(printf '> %s\n' "${questions[@]}") \
    <(printf '%s\n' "${questions[@]}" | "$program" chat "$dialog" "${cpu[@]}")
echo
echo "To go on by yourself: $program chat $dialog --visual, or in a browser: $0 --serve"
