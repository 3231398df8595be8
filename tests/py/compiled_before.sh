#!/usr/bin/env bash
# compiled_before.sh TREE BUILD COMPILER ARGUMENT...: a compiler launcher that takes an object from BUILD, which was built
# from TREE, where BUILD has one of that name that is newer than its source in TREE, which is the one to compile.
tree=$1 build=$2
shift 2
object= source=
for ((i = 1; i <= $#; i++)); do
    case ${!i} in
    -o) n=$((i + 1)) object=${!n} ;;
    -c) n=$((i + 1)) source=${!n} ;;
    esac
done
case $source in
*/src/* | */cli/*)
    below=${source##*/diffulex_edge-[0-9.]*/}
    if [[ -f $tree/$below && $build/$object -nt $tree/$below ]] && cmp -s "$source" "$tree/$below"; then
        exec cp "$build/$object" "$object"
    fi
    ;;
esac
exec "$@"
