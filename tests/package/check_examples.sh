#!/usr/bin/env bash
# check_examples.sh EXAMPLES_DIR PROGRAM [EMULATOR...]: runs the programs of examples/ with the dialogue model of this
# repository, exported by PROGRAM, and compares what they print with what the model is known to answer.
set -eu
examples=$1 program=$2
shift 2
demo=$(cd "$(dirname "$0")/../../demo/dialog-sdar" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
model=$scratch/dialog.pte
"$@" "$program" export --hf-model-path "$demo" --output-path "$model" --quantization int8-dynamic >"$scratch/log"

# expect WHAT EXPECTED GOT
expect() {
    [ "$2" = "$3" ] || { printf '%s: expected\n%s\ngot\n%s\n' "$1" "$2" "$3" >&2; exit 1; }
}
failing() {
    if "$@" >"$scratch/out" 2>"$scratch/err"; then echo "$* did not fail" >&2; exit 1; fi
}

got=$("$@" "$examples/example_complete" "$model" "What is 347 + 285?" 2>"$scratch/err")
expect complete 632 "$got"
got=$("$@" "$examples/example_complete" "$model" "What is 347 + 285?" "[0-9]{4}\\." 2>/dev/null)
case $got in [0-9][0-9][0-9][0-9].) ;; *) expect "complete in a form" "four digits and a full stop" "$got" ;; esac
grep -q '^3 tokens in [0-9]* passes, finish reason stop$' "$scratch/err"

printf '%s\n' "What is 347 + 285?" "Add 52 to that." >"$scratch/lines"
got=$("$@" "$examples/example_chat" "$model" <"$scratch/lines" 2>"$scratch/err")
expect chat "$(printf '632\n684')" "$got"
# The second turn finds the first one in the session.
[ "$(sed -n 's/.*, \([0-9]*\) of them cached$/\1/p' "$scratch/err" | tail -n 1)" -gt 8 ]
got=$("$@" "$examples/example_chat" "$model" 0 <"$scratch/lines" 2>"$scratch/err")
expect "chat without time" "$(printf ' [stopped]\n [stopped]')" "$got"

for i in 1 2 3; do
    printf '%s\n' "What is 347 + 285?" "Sort these words: shop, actor, ivy, velvet" "Convert 18.4 kg to g." "Spell pear."
done >"$scratch/lines"
got=$("$@" "$examples/example_batch" "$model" <"$scratch/lines")
expect batch "$(for i in 1 2 3; do printf '632\nactor, ivy, shop, velvet\n18400 g\np-e-a-r\n'; done)" "$got"

if [ -w /dev/full ]; then
    for name in complete chat batch; do
        prompt=
        [ $name = complete ] && prompt="Spell pear."
        if "$@" "$examples/example_$name" "$model" ${prompt:+"$prompt"} <"$scratch/lines" >/dev/full 2>"$scratch/err"; then
            echo "$name lost its answers in silence" >&2
            exit 1
        fi
        grep -q 'could not be written$' "$scratch/err"
    done
fi

for name in complete chat batch; do
    failing "$@" "$examples/example_$name" "$scratch/no-such.pte" prompt
    failing "$@" "$examples/example_$name"
    grep -q "^usage: $name MODEL.pte" "$scratch/err"
done
failing "$@" "$examples/example_complete" "$scratch/no-such.pte" prompt
grep -q no-such.pte "$scratch/err"
echo "three examples answer as the model does"
