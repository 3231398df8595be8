"""Each given binary needs no shared library but the C library's own, and the runtime-only build of ours."""
import argparse
import re
import subprocess
import sys

ALLOWED = re.compile(r"^(libc\.so\.\d+|libm\.so\.\d+|libpthread\.so\.\d+|ld-linux[\w-]*\.so\.\d+|libdiffulex_edge\.so\.\d+)$")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readelf", default="readelf")
    parser.add_argument("binary", nargs="+")
    args = parser.parse_args()
    problems = 0
    for binary in args.binary:
        output = subprocess.run([args.readelf, "-d", binary], check=True, capture_output=True, text=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", output)
        foreign = [name for name in needed if not ALLOWED.match(name)]
        problems += len(foreign)
        print(f"{binary}: {' '.join(needed)}" + (f"; not allowed: {' '.join(foreign)}" if foreign else ""))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
