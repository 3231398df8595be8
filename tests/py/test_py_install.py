"""pip install: a wheel from the source tree, used from an empty environment."""

import email
import os
import re
import subprocess
import sys
import tarfile
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


def clean_environment():
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DLX_BUILD_DIR", "DLX_CLI", "DLX_LIBRARY")}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """Python of an environment that has the package "build"."""
    folder = tmp_path_factory.mktemp("builder")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", "build"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs a package index with build and scikit-build-core")
    return python


@pytest.fixture(scope="module")
def sdist(builder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    done = subprocess.run([builder, "-m", "build", "--sdist", "-o", folder, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(builder, sdist, tmp_path_factory):
    """Built from the source distribution, as an installation from a package index does."""
    folder = tmp_path_factory.mktemp("wheel")
    # Compiled once: what is in it is looked at. Sources of the distribution that are not those of the tree are compiled.
    build = os.environ.get("DLX_BUILD_DIR")
    launcher = [] if not build else [
        "-C", f"cmake.define.CMAKE_C_COMPILER_LAUNCHER={ROOT / 'tests/py/compiled_before.sh'};{ROOT};{Path(build).resolve()}"]
    done = subprocess.run([builder, "-m", "pip", "wheel", "--no-deps", "-q", "-w", folder, *launcher, sdist],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(folder.glob("*.whl"))


def test_the_source_distribution_holds_what_building_needs(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    wanted = {p.relative_to(ROOT).as_posix() for folder in ("cmake", "include", "src", "cli", "server", "python")
              for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc"}
    wanted |= {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}
    assert names == wanted
    assert sdist.stat().st_size < 2_000_000


def test_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    text = archive.read(next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))).decode()
    about = email.message_from_string(text)
    version = re.search(r"project\(diffulex_edge VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert about["Version"] == version and about["License-Expression"] == "MIT" and about["Requires-Python"] == ">=3.9"
    assert about["Summary"] and about["Keywords"] and about["Description-Content-Type"] == "text/markdown"
    assert {"numpy", "executorch", "progress", "ray"} == set(about.get_all("Provides-Extra"))
    assert sum("Python :: 3." in c for c in about.get_all("Classifier")) >= 5
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in archive.namelist())


def test_a_missing_library_is_one_sentence_with_the_command(tmp_path):
    environment = {**os.environ, "PKG_CONFIG_LIBDIR": str(tmp_path), "PKG_CONFIG_PATH": ""}
    done = subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path / "build", "-DDLX_BUILD_TESTS=OFF"], capture_output=True,
                          text=True, env=environment)
    words = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert "needs jansson, pcre2, utf8proc, which this system lacks; install it with: sudo apt-get install" in words
    assert "libjansson-dev libpcre2-dev libutf8proc-dev" in words and words.count("CMake Error") == 1
    done = subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path / "run", "-DDLX_BUILD_TESTS=OFF", "-DDLX_RUNTIME_ONLY=ON"],
                          capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


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
    environment = clean_environment()

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
