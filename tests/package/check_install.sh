#!/usr/bin/env bash
# check_install.sh BUILD_DIR VERSION: installs into a scratch prefix and builds a small program against it twice, by
# find_package and by pkg-config. Both must run and report VERSION. Then the same with the programs of examples/. CC and
# CMAKE name the tools.
set -eu
build=$1
version=$2
cc=${CC:-cc}
cmake=${CMAKE:-cmake}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

"$cmake" --install "$build" --prefix "$prefix" >"$scratch/install.log"
# A moved tree must work as well as the one that was installed.
mv "$prefix" "$scratch/moved"
prefix=$scratch/moved

run() {
    local out
    out=$("$@")
    echo "$out"
    if [ "$out" != "diffulex_edge $version" ]; then
        echo "expected: diffulex_edge $version" >&2
        exit 1
    fi
}

targets=diffulex_edge
if [ -n "$(find "$prefix" -name libdiffulex_edge.a)" ]; then
    targets="$targets diffulex_edge_static"
fi
for target in $targets; do
    "$cmake" -S "$here/consumer" -B "$scratch/$target" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
        -DCONSUMER_TARGET="$target" -DCONSUMER_VERSION="$version" >"$scratch/$target.log"
    "$cmake" --build "$scratch/$target" >>"$scratch/$target.log" || { cat "$scratch/$target.log"; exit 1; }
    run "$scratch/$target/consumer"
done

# The soname carries the number of the ABI that the headers state.
api=$(sed -n 's/^#define DLX_API_VERSION //p' "$prefix/include/diffulex_edge/model.h")
library=$(find "$prefix" -name libdiffulex_edge.so)
[ "$(readlink "$library")" = "libdiffulex_edge.so.$api" ] || { echo "soname is not of ABI $api" >&2; exit 1; }

pc=$(find "$prefix" -name diffulex_edge.pc)
export PKG_CONFIG_PATH=${pc%/*}
[ "$(pkg-config --modversion diffulex_edge)" = "$version" ]
# shellcheck disable=SC2046
"$cc" -std=c11 -Wall -Wextra -Werror "$here/consumer/consumer.c" $(pkg-config --cflags --libs diffulex_edge) \
    -o "$scratch/consumer-pc"
LD_LIBRARY_PATH=${pc%/pkgconfig/*} run "$scratch/consumer-pc"

# The examples, as their readers build them.
"$cmake" -S "$here/../../examples" -B "$scratch/examples" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_C_FLAGS="-Wall -Wextra -Werror" >"$scratch/examples.log"
"$cmake" --build "$scratch/examples" >>"$scratch/examples.log" || { cat "$scratch/examples.log"; exit 1; }
if "$prefix/bin/diffulex-edge" doctor --json | grep -q '"half": *"full"'; then
    "$here/check_examples.sh" "$scratch/examples" "$prefix/bin/diffulex-edge"
fi

if [ -x "$prefix/bin/diffulex-edge" ]; then
    "$prefix/bin/diffulex-edge" --version
    "$prefix/bin/diffulex-edge" help --man | cmp - "$prefix/share/man/man1/diffulex-edge.1"
    for file in bash-completion/completions/diffulex-edge zsh/site-functions/_diffulex-edge \
        fish/vendor_completions.d/diffulex-edge.fish; do
        "$prefix/bin/diffulex-edge" help --completion "${file%%[-/]*}" | cmp - "$prefix/share/$file"
    done
fi
