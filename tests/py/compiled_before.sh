#!/usr/bin/env bash
# compiled_before.sh TREE BUILD COMPILER ARGUMENT...: a compiler launcher that takes an object of src/ or cli/ from BUILD,
# which was built from TREE, where that is newer than its source in TREE and the source to compile is the same.
tree=$1 build=$2
shift 2
object='' source=''
for ((i = 1, n = 2; i <= $#; i++, n++)); do
    case ${!i} in
    -o) object=${!n} ;;
    -c) source=${!n} ;;
    esac
done
# src/CMakeFiles/dlx_base.dir/base/arena.c.o comes from src/base/arena.c.
below=${object/CMakeFiles\/*.dir\//}
below=${below%.o}
if [[ $object == @(src|cli)/* && $build/$object -nt $tree/$below ]] && cmp -s "$source" "$tree/$below"; then
    exec cp "$build/$object" "$object"
fi
exec "$@"
