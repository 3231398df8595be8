#!/usr/bin/env bash
# install_deps.sh [--build]: installs what DiffuLex Edge needs on Debian 12 and later or Ubuntu 22.04 and later.
#   --build   only what building the library and the program needs; default: also what scripts/test.sh needs
# Runs again without harm: what is there is left alone. Uses sudo when it is needed and available.
set -eu

build_only=0
case "${1:-}" in
--build) build_only=1 ;;
"") ;;
*)
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
    ;;
esac

missing=()
# need PACKAGE TEST...: the package is missing when the test fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
installed() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'
}
browser() {
    command -v chromium || command -v google-chrome
}
library() {
    command -v pkg-config >/dev/null && pkg-config --exists "$1"
}

need build-essential command -v cc
need cmake command -v cmake
need ninja-build command -v ninja
need pkg-config command -v pkg-config
need libcmocka-dev library cmocka
need libjansson-dev library jansson
need libpcre2-dev library libpcre2-8
need libutf8proc-dev library libutf8proc
need libedit-dev library libedit
need libmicrohttpd-dev library libmicrohttpd
need python3 command -v python3
if [ $build_only = 0 ]; then
    need g++ command -v c++
    need git command -v git
    need curl command -v curl
    need clang command -v clang
    need python3-venv python3 -c 'import ensurepip, venv'
    need gcc-aarch64-linux-gnu command -v aarch64-linux-gnu-gcc
    need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdio.h
    need qemu-user command -v qemu-aarch64
    # WebAssembly. The compiler's own part lies in a package of its own on some releases only, see below.
    need lld command -v wasm-ld
    need wasi-libc test -e /usr/include/wasm32-wasi/stdio.h
    need default-jdk-headless command -v javac
    # What reads the manual page and the completions.
    need groff-base command -v groff
    need mandoc command -v mandoc
    need zsh command -v zsh
    need fish command -v fish
    # What the tests of the server's page drive; on Ubuntu it is no package, and they take Google's where it is there.
    if grep -qs '^ID=debian' /etc/os-release; then need chromium browser; fi
fi

# libFuzzer (scripts/fuzz.sh), and what WebAssembly needs of the compiler, lie in packages of their own on some releases only.
more=()
if [ $build_only = 0 ] && command -v apt-get >/dev/null; then
    for package in libclang-rt-dev libclang-rt-dev-wasm32; do
        installed $package || more+=("$package")
    done
fi
# Those that this release has, once it is known what it has.
known() {
    for package in "${more[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then echo "$package"; fi
    done
}

if [ ${#missing[@]} = 0 ] && [ -z "$(known)" ]; then
    echo "everything is installed already"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "this is neither Debian nor Ubuntu; please install what these packages hold: ${missing[*]}" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "please run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "installing: ${missing[*]}${more:+ ${more[*]} where they are}"
"${as_root[@]}" apt-get -q update
mapfile -t more < <(known)
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}" "${more[@]}"
