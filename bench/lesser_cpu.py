"""Makes the official runtime believe in a CPU with fewer instructions than this one has. XNNPACK chooses its kernels by what the
library cpuinfo found, which lies in a structure that PyTorch's library exports and describes. For the scripts beside it."""
import ctypes
import re
from pathlib import Path

_VNNI = {"avxvnni", "avx_vnni_int8", "avx_vnni_int16", "avx512vnni", "avx512bf16", "avx512fp16", "gfni"}
_SERVER = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl", "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512bitalg",
           "avx512vpopcntdq", "avx512vp2intersect"}
_TILES = {"amx_bf16", "amx_tile", "amx_int8", "amx_fp16"}

# What a CPU lacks whose best kernel set is this one.
LACKS = {"avx512vnni": _TILES, "avx512": _TILES | _VNNI, "avx-vnni": _TILES | _SERVER | (_VNNI - {"avxvnni", "gfni"}), "avx2": _TILES | _VNNI | _SERVER}


def members(header):
    """Members of cpuinfo_x86_isa on x86-64, in order: one byte each."""
    body = re.search(r"struct cpuinfo_x86_isa \{(.*?)\n\};", header, re.S).group(1)
    body = re.sub(r"#if CPUINFO_ARCH_X86\n.*?#endif\n", "", body, flags=re.S)
    body = re.sub(r"#if CPUINFO_ARCH_X86_64\n(.*?)#endif\n", r"\1", body, flags=re.S)
    if "#" in body or re.sub(r"\s*bool \w+;|\s*/\*.*?\*/", "", body, flags=re.S).strip():
        raise RuntimeError("cpuinfo.h describes cpuinfo_x86_isa in a way that is not known here")
    return re.findall(r"bool (\w+);", body)


def pretend(cpu):
    """Before ExecuTorch is used for the first time in this process; returns what is hidden."""
    import torch
    folder = Path(torch.__file__).parent
    names = members((folder / "include/cpuinfo.h").read_text())
    library = ctypes.CDLL(str(folder / "lib/libtorch_cpu.so"))
    library.cpuinfo_initialize()
    found = (ctypes.c_uint8 * len(names)).in_dll(library, "cpuinfo_isa")
    if set(found) - {0, 1} or not found[names.index("avx2")]:
        raise RuntimeError("cpuinfo_isa is not what cpuinfo.h describes")
    hidden = [name for i, name in enumerate(names) if found[i] and name in LACKS[cpu]]
    for name in hidden:
        found[names.index(name)] = 0
    return hidden
