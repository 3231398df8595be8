#!/usr/bin/env bash
# compiled_before.sh TREE BUILD COMPILER ARGUMENT...: a compiler launcher that takes an object from BUILD, which was built
# from TREE by the same compiler with the same flags, where that is newer than its source in TREE and the source to compile
# is the same. Where TREE is what is compiled, with DLX_RUNTIME_ONLY perhaps, nothing that the source includes may be newer
# or ask for DLX_RUNTIME_ONLY, and the build system gets its rule of what is included.
tree=$1 build=$2
shift 2
object='' source='' rule=''
for ((i = 1, n = 2; i <= $#; i++, n++)); do
    case ${!i} in
    -o) object=${!n} ;;
    -c) source=${!n} ;;
    -MF) rule=${!n} ;;
    esac
done

# same COMPILER ARGUMENT...: whether what the source includes is as it was for BUILD.
same() {
    local included file
    "$@" -M || return 1
    included=$(<"$rule")
    included=${included#*:}
    for file in ${included//\\/}; do
        [[ $file != "$tree"/* ]] && continue
        [[ $build/$object -nt $file ]] && ! grep -q DLX_RUNTIME_ONLY "$file" || return 1
    done
}

# src/CMakeFiles/dlx_base.dir/base/arena.c.o comes from src/base/arena.c.
below=${object/CMakeFiles\/*.dir\//}
below=${below%.o}
if [[ $object == @(src|cli|tests)/* && $build/$object -nt $tree/$below ]] && cmp -s "$source" "$tree/$below" &&
    { [[ $source != "$tree"/* ]] || same "$@"; }; then
    exec cp "$build/$object" "$object"
fi
exec "$@"
