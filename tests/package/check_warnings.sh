#!/usr/bin/env bash
# check_warnings.sh SOURCE_DIR: whoever configures the project without its presets, or builds it as a part of another
# project, has a compiler whose warnings nobody saw: they must not stop the build. CC and CMAKE name the tools.
set -eu
source=$1
cmake=${CMAKE:-cmake}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# errors DIR: how many files of that build stop at warnings
errors() {
    grep -c -- -Werror "$1/compile_commands.json" || true
}

"$cmake" -S "$source" -B "$scratch/plain" -DDLX_RUNTIME_ONLY=ON -DDLX_BUILD_TESTS=OFF >"$scratch/log"
[ -s "$scratch/plain/compile_commands.json" ]
[ "$(errors "$scratch/plain")" = 0 ] || { echo "an ordinary build stops at warnings" >&2; exit 1; }

mkdir "$scratch/outer"
cat >"$scratch/outer/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.21)
project(outer LANGUAGES C)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
add_subdirectory($source inner)
file(WRITE outer.c "int main(void) { return 0; }")
add_executable(outer outer.c)
target_link_libraries(outer PRIVATE DiffulexEdge::diffulex_edge)
END
"$cmake" -S "$scratch/outer" -B "$scratch/part" -DDLX_RUNTIME_ONLY=ON >"$scratch/log"
[ "$(errors "$scratch/part")" = 0 ] || { echo "as a part of a project it stops at warnings" >&2; exit 1; }
# What it compiles itself with is not for those who link it.
grep '"command".*outer\.c' "$scratch/part/compile_commands.json" | grep -qv -- -Wvla

cd "$source"
"$cmake" --preset runtime-only -B "$scratch/preset" -DDLX_BUILD_TESTS=OFF >"$scratch/log"
files=$(grep -c '"file"' "$scratch/preset/compile_commands.json")
[ "$(errors "$scratch/preset")" = "$files" ] || { echo "a preset does not treat warnings as errors" >&2; exit 1; }
echo "warnings are errors in the presets alone ($files files)"
