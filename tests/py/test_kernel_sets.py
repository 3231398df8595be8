"""The kernel tests say which instruction sets they could not run, so that a pass does not speak for those."""
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from oracles import not_here

BUILD = os.environ.get("DLX_BUILD_DIR")
if not BUILD:
    not_here("DLX_BUILD_DIR does not name a build folder")
if platform.machine() != "x86_64":
    pytest.skip("the sets that a CPU can lack are those of x86-64", allow_module_level=True)

PROGRAM = Path(BUILD).resolve() / "tests" / "test_kernels"
AVX2, AVX512 = {"avx2", "fma", "f16c"}, {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
NEEDS = {"avx2": AVX2, "avx-vnni": AVX2 | {"avx_vnni"}, "avx512": AVX2 | AVX512,
         "avx512vnni": AVX2 | AVX512 | {"avx512_vnni"}, "amx": AVX2 | AVX512 | {"avx512_vnni", "amx_tile", "amx_int8"}}


def not_run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "not run" in line]


def test_this_machine():
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    missing = [name for name, needs in NEEDS.items() if not needs <= set(flags.split())]
    said = not_run(PROGRAM)
    if "amx" not in missing and said and said[0].endswith("amx"):  # a system that does not give its tiles away
        missing.append("amx")
    assert said == (["not run on this CPU: " + ", ".join(missing)] if missing else [])


def test_a_machine_without_them():
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("needs qemu-x86_64, an emulator of older CPUs")
    assert not_run(emulator, "-cpu", "Nehalem", PROGRAM) == ["not run on this CPU: " + ", ".join(NEEDS)]
