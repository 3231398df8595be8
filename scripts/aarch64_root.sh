#!/usr/bin/env bash
# aarch64_root.sh [FOLDER]: fetches the arm64 builds of cmocka, jansson, PCRE2 and utf8proc with apt and unpacks them
# into FOLDER (default build/aarch64-root) for the preset "aarch64". Needs no root, and leaves the system's package
# database alone: apt works on a private state inside FOLDER.
set -eu

folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/build/aarch64-root}
packages=(libcmocka-dev libcmocka0 libjansson-dev libjansson4 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2)
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
apt_arm64() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User= \
        -o Dir::State="$state" -o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state/cache" "$@"
}
apt_arm64 update
(cd "$state/debs" && apt_arm64 download "${packages[@]}")
for deb in "$state"/debs/*.deb; do
    dpkg -x "$deb" "$folder"
done
rm -rf "$state"
echo "${packages[*]}" >"$stamp"
echo "$folder holds: ${packages[*]}"
