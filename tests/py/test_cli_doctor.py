"""diffulex-edge doctor: what it says about this machine, against what the system says to others."""
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import diffulex_edge
import pytest

from program import CLI, DATA, DEMO, ROOT, export, on_terminal, run, run_json, start


def doctor(env=None, status=0, **kwargs):
    done = start("doctor", "--json", env=env, **kwargs)
    assert (done.returncode, done.stderr) == (status, "")
    return json.loads(done.stdout)


def test_build_and_machine():
    d = doctor()
    assert d["version"] == run("--version").split()[1]
    assert d["api_version"] == int(re.search(r"^#define DLX_API_VERSION (\d+)$",
                                             (ROOT / "include/diffulex_edge/model.h").read_text(), re.M)[1])
    assert d["half"] == "full" and re.match(r"(gcc|clang) \d+\.\d+", d["compiler"])
    assert d["architecture"].replace("-", "_") == os.uname().machine
    assert d["cpus"] == d["threads"] <= len(os.sched_getaffinity(0))
    assert d["cpus_online"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert d["memory_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") or "memory_limit_bytes" in d
    assert 0 < d["available_bytes"] <= d["memory_bytes"]
    assert d["ok"] is True and d["to_do"] == []


def test_libraries_are_those_that_pkg_config_knows():
    names = {"jansson": "jansson", "PCRE2": "libpcre2-8", "utf8proc": None}  # whose .pc file has another number
    libraries = doctor()["libraries"]
    assert [b["name"] for b in libraries] == list(names)
    if not shutil.which("pkg-config"):
        pytest.skip("needs pkg-config")
    for b in libraries[:2]:
        said = subprocess.run(["pkg-config", "--modversion", names[b["name"]]], capture_output=True, text=True)
        if said.returncode == 0:
            assert b["version"] == said.stdout.strip()


def test_kernels_are_those_that_decoding_uses(tmp_path):
    d = doctor()
    chosen = [k["name"] for k in d["kernels"] if k["chosen"]]
    program = export(DATA / "checkpoints" / "sdar-tiny", tmp_path / "m.pte")
    assert chosen == [run_json("generate", program, "--token-ids", "5,6,7", "--max-new-tokens", "4")["timing"]["kernels"]]
    assert d["kernels"][0]["name"] == "ref"
    for kernel in d["kernels"]:
        done = start("generate", program, "--token-ids", "5", "--max-new-tokens", "1", "--json", "--cpu", kernel["name"])
        assert (json.loads(done.stdout)["timing"]["kernels"] == kernel["name"]) == kernel["available"]


def test_affinity():
    one = min(os.sched_getaffinity(0))
    done = subprocess.run([CLI, "doctor", "--json"], capture_output=True, text=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, {one}))
    assert json.loads(done.stdout)["cpus"] == 1


def test_the_folder_of_checkpoints_is_where_export_looks(tmp_path):
    hub = tmp_path / "hub"
    env = {"HF_HUB_CACHE": str(hub)}
    before = doctor(env)["checkpoint_cache"]
    assert before["path"] == str(hub) and not before["exists"] and before["writable"] and before["free_bytes"] > 0
    snapshot = hub / "models--some--demo" / "snapshots" / "1"
    shutil.copytree(DEMO, snapshot)
    after = doctor(env)["checkpoint_cache"]
    assert after["exists"] and after["readable"] and after["checkpoints"] == 1
    free = shutil.disk_usage(hub).free
    assert abs(after["free_bytes"] - free) < free / 2
    run("export", "--hf-model-path", "some/demo", "--output-path", tmp_path / "m.pte", env=env)


def test_a_file_in_the_place_of_the_cache_is_something_to_do(tmp_path):
    (tmp_path / "hub").write_text("")
    env = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    d = doctor(env, status=1)
    assert d["ok"] is False and len(d["to_do"]) == 1 and "is no folder" in d["to_do"][0]
    done = start("doctor", env=env)
    assert done.returncode == 1 and "to do: " in done.stdout
    assert "everything that is needed is there" not in done.stdout


def test_no_home_is_a_note(tmp_path):
    env = {k: v for k, v in os.environ.items() if not re.match("HF_|HUGGINGFACE|XDG_|HOME$", k)}
    done = subprocess.run([CLI, "doctor", "--json"], capture_output=True, text=True, env=env)
    d = json.loads(done.stdout)
    assert done.returncode == 0 and d["checkpoint_cache"]["path"] is None
    assert any("HF_HUB_CACHE" in note for note in d["notes"])


def test_backends_are_those_of_export_and_qnn_names_its_libraries(tmp_path):
    backends = {b["name"]: b for b in doctor()["backends"]}
    assert list(backends) == [name for name, *_ in diffulex_edge.export_backends()]
    assert all(backends[name] == {"name": name, "ready": True, "found": None} for name in ("xnnpack", "coreml"))
    nowhere = {"PATH": "/nowhere", "HOME": str(tmp_path), "QNN_SDK_ROOT": "", "VIRTUAL_ENV": ""}
    d = doctor(env=nowhere)
    qnn = d["backends"][-1]
    assert qnn["name"] == "qnn" and not qnn["ready"] and "onnxruntime-qnn" in qnn["reason"]
    assert d["ok"]
    assert f"; not qnn: {qnn['reason']}\n" in run("doctor", env=nowhere)
    found = importlib.util.find_spec("onnxruntime_qnn")  # importing it would need onnxruntime
    if found:
        folder = str(Path(found.origin).parent)
        qnn = doctor(env={**nowhere, "PATH": f"{Path(folder).parents[3]}/bin"})["backends"][-1]
        assert qnn["ready"] and qnn["found"].startswith("QNN v2.") and qnn["found"].endswith(f" in {folder}")


def test_text():
    text = run("doctor")
    labels = ["diffulex-edge", "libraries", "CPU", "kernels", "memory", "huge pages", "backends", "checkpoints",
              "current folder", "terminal"]
    assert [line for label in labels for line in text.splitlines() if line.startswith(label + "  ")][0]
    for label in labels:
        assert re.search(rf"^{label} ", text, re.M), label
    assert text.endswith("\n\neverything that is needed is there\n")
    assert "no: the output is not one" in text


def test_terminal():
    status, seen = on_terminal("doctor", columns=97, env={"LC_ALL": "C.UTF-8"})
    assert status == 0 and re.search(r"terminal +yes, colours, 97 columns, UTF-8\r", seen)
    status, seen = on_terminal("doctor", env={"LC_ALL": "C", "NO_COLOR": "1"})
    assert status == 0 and "no colours" in seen and "set LC_ALL=C.UTF-8" in seen


def test_arguments_are_refused():
    assert start("doctor", "now").returncode == 2
