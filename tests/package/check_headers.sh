#!/usr/bin/env bash
# check_headers.sh INCLUDE_DIR CC: every public header compiles alone, as C11 and as C++17, without a warning.
set -u
include=$1
cc=$2
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror)

cxx=
for candidate in "${CXX:-}" c++ g++ clang++; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then cxx=$candidate && break; fi
done

status=0
for header in "$include"/diffulex_edge/*.h; do
    line="#include \"diffulex_edge/$(basename "$header")\""
    echo "$line" | "$cc" -std=c11 "${warnings[@]}" -Wstrict-prototypes -I"$include" -fsyntax-only -x c - || status=1
    if [ -n "$cxx" ]; then
        echo "$line" | "$cxx" -std=c++17 "${warnings[@]}" -I"$include" -fsyntax-only -x c++ - || status=1
    fi
done
if [ "$status" = 0 ] && [ -z "$cxx" ]; then
    echo "no C++ compiler found: headers were compiled as C only"
    exit 77
fi
exit $status
