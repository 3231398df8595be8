"""The program diffulex-edge as a WebAssembly module (preset `wasm`) under wasmtime: recorded decodes, and what this machine's own
program makes of the same files. DLX_WASM names the module."""
import json
import os
import subprocess
import sys

import pytest

from oracles import present
from program import CLI, DATA, MODELS, ROOT, export, flags, ids_text

MODULE = os.environ.get("DLX_WASM")
if not MODULE:
    pytest.skip("DLX_WASM does not name diffulex-edge.wasm", allow_module_level=True)
present("wasmtime", "the WebAssembly build is")

ENGINE = [sys.executable, str(ROOT / "tests" / "wasm" / "run.py"), MODULE]
RECORDED = json.loads((DATA / "traces" / "float32.json").read_text())


def start(program, *args):
    return subprocess.run([*program, *map(str, args)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def decode(program, file, trace):
    done = start(program, "generate", file, "--token-ids", ids_text(trace["prompt_ids"]), "--algorithm", trace["algorithm"],
                 *flags(trace["options"]), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    out = json.loads(done.stdout)
    return out["output_ids"], out["num_forwards"]


@pytest.mark.parametrize("model", MODELS)
def test_decodes(tmp_path, model):
    trace = next(t for t in RECORDED if t["checkpoint"] == model)
    floats = export(DATA / "checkpoints" / model, tmp_path / "floats.pte")
    assert decode(ENGINE, floats, trace) == (trace["output_ids"], trace["num_forwards"])
    for scheme in ("int8-dynamic", "int4"):
        small = export(DATA / "checkpoints" / model, tmp_path / f"{scheme}.pte", scheme)
        assert decode(ENGINE, small, trace) == decode([CLI], small, trace)


def test_what_it_is(tmp_path):
    """Kernels, threads and files are those of a module."""
    file = export(DATA / "checkpoints" / "sdar-tiny", tmp_path / "model.pte")
    bench = start(ENGINE, "bench", file, "--rows", "1", "--turns", "3", "--no-probes", "--json")
    assert bench.returncode == 0, bench.stderr
    assert (json.loads(bench.stdout)["kernels"], json.loads(bench.stdout)["threads"]) == ("simd128", 1)
    more = start(ENGINE, "generate", file, "--token-ids", "1,2", "--threads", "2")
    assert more.returncode == 1 and "the system refused thread 2 of 2" in more.stderr
    doctor = start(ENGINE, "doctor")
    assert doctor.returncode == 0 and "runtime-only build for wasm32" in doctor.stdout and "simd128 (chosen)" in doctor.stdout
    assert "memory            unknown" in doctor.stdout
    none = start(ENGINE, "generate", tmp_path / "none.pte", "--token-ids", "1,2")
    assert none.returncode == 1 and "none.pte" in none.stderr and "No such file or directory" in none.stderr
