#!/usr/bin/env bash
# aarch64_root.sh [--python] [FOLDER]: fetches arm64 packages with apt and unpacks them into FOLDER. Needs no root, and
# leaves the system's package database alone: apt works on a private state inside FOLDER.
#   (without)  cmocka, jansson, PCRE2 and utf8proc into build/aarch64-root, for the preset "aarch64"
#   --python   Python and the C library under it into build/aarch64-python, for scripts/wheels.sh:
#              qemu-aarch64 -L FOLDER FOLDER/usr/bin/python3
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
wanted=root
if [ "${1:-}" = --python ]; then
    wanted=python
    shift
fi
folder=${1:-$here/build/aarch64-$wanted}
if [ "$wanted" = python ]; then
    packages=(libc6 libgcc-s1 libstdc++6 libexpat1 libffi8 zlib1g python3-minimal)
else
    packages=(libcmocka-dev libcmocka0 libjansson-dev libjansson4 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2)
fi
stamp=$folder/complete

if [ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ]; then
    echo "$folder is complete"
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "apt-get and dpkg are needed to fetch arm64 packages" >&2
    exit 1
fi

rm -rf "$folder"
state=$folder/apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
touch "$state/status"
apt_arm64() { # PROGRAM ARGUMENTS...
    "$1" -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User= \
        -o Dir::State="$state" -o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state/cache" "${@:2}"
}
apt_arm64 apt-get update
needed=("${packages[@]}")
if [ "$wanted" = python ]; then # the packages of the version that python3 stands for
    version=$(apt_arm64 apt-cache show python3-minimal | grep -o -m 1 'python3\.[0-9]*')
    needed+=("$version-minimal" "lib$version-minimal" "lib$version-stdlib")
fi
(cd "$state/debs" && apt_arm64 apt-get download "${needed[@]}")
for deb in "$state"/debs/*.deb; do
    dpkg -x "$deb" "$folder"
done
rm -rf "$state"
echo "${packages[*]}" >"$stamp"
echo "$folder holds: ${needed[*]}"
