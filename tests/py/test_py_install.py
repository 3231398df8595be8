"""pip install: a wheel from the source tree, used from an empty environment."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from exported_files import DATA

ROOT = Path(__file__).resolve().parent.parent.parent

USE = """
import sys
import diffulex_edge
from diffulex_edge import _native
from diffulex_edge.__main__ import find_program
from diffulex_edge.runtime import DiffusionEngine, DiffusionGenerationConfig
diffulex_edge.export_checkpoint(sys.argv[1], "model.pte")
engine = DiffusionEngine.from_pte("model.pte", model_type="fast_dllm_v2")
tokens = engine.generate([1, 2, 3], DiffusionGenerationConfig(max_new_tokens=50, num_iterations=10, temperature=0.8))
assert tokens[:3] == [1, 2, 3]
assert _native.library().path.startswith(sys.prefix), _native.library().path
assert str(find_program().resolve()).startswith(sys.prefix)
try:
    import numpy
except ImportError:
    print("works without numpy", diffulex_edge.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Could not find a version" in done.stderr or "No matching distribution" in done.stderr:
        pytest.skip("needs a package index with scikit-build-core")
    assert done.returncode == 0, done.stderr[-3000:]
    return next(folder.glob("*.whl"))


def test_one_wheel_for_every_python(wheel):
    assert "-py3-none-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "diffulex_edge/py.typed" in names and any(n.startswith("diffulex_edge/libdiffulex_edge.") for n in names)
    assert any(n.endswith(".data/scripts/diffulex-edge") for n in names)
    inside = ("diffulex_edge/", "diffulex_edge-")
    assert not [n for n in names if not n.startswith(inside) or n.endswith((".h", ".cmake", ".pc", ".pyc"))]
    files = {p.relative_to(ROOT / "python").as_posix() for p in (ROOT / "python").rglob("*.py")}
    assert files <= set(names)


def test_the_wheel_is_all_that_is_needed(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    binaries = tmp_path / "env" / "bin"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DLX_BUILD_DIR", "DLX_CLI")}

    def run(*command):
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(binaries / "python", "-m", "pip", "install", "-q", "--no-index", wheel)
    checkpoint = DATA / "checkpoints" / "fast_dllm_v2-tiny"
    assert run(binaries / "python", "-c", USE, checkpoint).startswith("works without numpy")
    assert run(binaries / "diffulex-edge", "--version").startswith("diffulex-edge ")
    script = "diffulex_edge.scripts.export_model"
    run(binaries / "python", "-m", script, "--hf-model-path", checkpoint, "--output-path", "a.pte", "--backend", "xnnpack")
    assert (tmp_path / "a.pte").stat().st_size > 100_000
