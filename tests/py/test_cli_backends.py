"""diffulex-edge export with a backend other than XNNPACK: which options go together, what is written, what is told."""
import json
import os
import shutil

import pytest

from oracles import oracle
from program import DATA, fail, run, run_json, start

oracle("numpy", "backends are")
oracle("safetensors", "backends are")
from safetensors.numpy import load_file, save_file  # noqa: E402

SDAR, DREAM = DATA / "checkpoints" / "sdar-tiny", DATA / "checkpoints" / "dream-tiny"
NO_QNN = {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": "", "HOME": "/nonexistent", "QNN_SDK_ROOT": ""}


def test_coreml_has_a_default_and_words_of_its_own(tmp_path):
    file = tmp_path / "m.pte"
    told = run("export", SDAR, file, "--backend", "coreml")
    assert told.startswith("quantization: int8-weight-only, the default; --quantization fp16 keeps")
    for word, scheme in (("int8", "int8-weight-only"), ("int4-g32", "int4-g32-weight-only"), ("fp16", "fp16")):
        report = run_json("export", SDAR, file, "--backend", "coreml", "--quantization", word)
        assert (report["backend"], report["quantization"], report["kv"]) == ("coreml", scheme, "fixed-fp16")
        methods = run_json("inspect", file)["methods"]
        delegates = next(m for m in methods if m["name"] == "forward")["delegates"]
        assert [d["id"] for d in delegates if d["id"] != "XnnpackBackend"] == ["CoreMLBackend"]


def test_delegates_have_as_many_layers_as_they_are_asked_to(tmp_path):
    file = tmp_path / "m.pte"
    run("export", SDAR, file, "--backend", "coreml", "--quantization", "fp16", "--delegate-layers", "1")
    forward = next(m for m in run_json("inspect", file)["methods"] if m["name"] == "forward")
    layers = json.loads((SDAR / "config.json").read_text())["num_hidden_layers"]
    assert [d["id"] for d in forward["delegates"]].count("CoreMLBackend") == layers


def test_the_cache_may_stay_in_core_ml(tmp_path):
    file, asked = tmp_path / "m.pte", ("export", SDAR, tmp_path / "m.pte", "--backend", "coreml", "--coreml-state")
    for options in ([], ["--kv", "fixed-state"], ["--delegate-layers", "1"]):
        assert run_json(*asked, *options)["kv"] == "fixed-state"
        forward = next(m for m in run_json("inspect", file)["methods"] if m["name"] == "forward")
        assert [x["name"] for x in forward["inputs"]] == ["tokens", "positions", "mask", "stored"]
        assert len(forward["outputs"]) == 1
    assert "--coreml-state is --kv fixed-state" in fail(*asked, "--kv", "fixed", status=2)


@pytest.mark.parametrize("options, sentence", [
    (["--soc", "SM8650"], "soc is an option of backend qnn; the backend asked for is xnnpack"),
    (["--compute-units", "all"], "compute_units is an option of backend coreml; the backend asked for is xnnpack"),
    (["--backend", "coreml", "--soc", "SM8650"], "soc is an option of backend qnn; the backend asked for is coreml"),
    (["--backend", "coreml", "--minimum-deployment-target", "iOS15"], "expected iOS16, iOS17 or iOS18"),
    (["--backend", "coreml", "--compute-units", "gpu"], "expected cpu_only, cpu_and_gpu, cpu_and_ne or all"),
    (["--backend", "coreml", "--kv", "caller"], "which writes: fixed-fp16, fixed"),
    (["--backend", "coreml", "--quantization", "int8-static"], "which writes: int8-weight-only, int4-weight-only, "),
    (["--backend", "coreml", "--quantization", "int4-g32", "--minimum-deployment-target", "iOS17"], "iOS18"),
    (["--backend", "coreml", "--validate"], "leave the validation out"),
    (["--coreml-state"], "kv 'fixed-state' cannot be written by backend 'xnnpack'"),
    (["--backend", "coreml", "--coreml-state", "--minimum-deployment-target", "iOS17"], "keeps a cache from iOS18 on"),
    (["--backend", "coreml", "--coreml-state", "--method-rows", "8"], "with the cache in the delegates there is one method"),
    (["--emit", "mlpackage"], "emit mlpackage is for backend coreml"),
    (["--backend", "coreml", "--emit", "dlc"], "expected pte or mlpackage"),
    (["--backend", "coreml", "--emit", "mlpackage", "--delegate-layers", "1"], "leave method_rows and delegate_layers out"),
    (["--backend", "qnn", "--soc", "SM9999"], "SM8650"),
    (["--backend", "qnn"], "pip install onnxruntime-qnn"),
    (["--backend", "qnn", "--qnn-lib-dir", "/nonexistent"], "/nonexistent"),
    (["--backend", "vulkan"], "this build writes: xnnpack, coreml, qnn"),
])
def test_what_does_not_go_together_is_told_before_anything_is_written(tmp_path, options, sentence):
    file = tmp_path / "m.pte"
    file.write_bytes(b"an older file")
    assert sentence in fail("export", SDAR, file, *options, env=NO_QNN)
    assert file.read_bytes() == b"an older file"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.pte"]


def test_numbers_beyond_float16_are_found_by_calibration(tmp_path):
    checkpoint, data, file = tmp_path / "checkpoint", tmp_path / "data.jsonl", tmp_path / "m.pte"
    data.write_text('{"ids": [5, 6, 7, 8, 9, 10, 11, 12]}\n')
    command = ("--backend", "coreml", "--quantization", "fp16", "--calibration", data, "--calibration-samples", "2")
    run("export", DREAM, file, *command)
    shutil.copytree(DREAM, checkpoint)
    (weights,) = checkpoint.glob("*.safetensors")
    tensors = load_file(weights)
    for name in ("up_proj", "gate_proj"):
        tensors[f"model.layers.1.mlp.{name}.weight"] *= 5000
    save_file(tensors, weights)
    told = fail("export", checkpoint, tmp_path / "other.pte", *command)  # nothing to go on with
    assert "'layers.1." in told and "float16, in which this backend computes, ends at 65504" in told
    assert not list(tmp_path.glob("other.pte*"))
    run("export", checkpoint, tmp_path / "other.pte", *command[:4])  # nobody looked


@pytest.mark.parametrize("tensor, name", [("layers.0.self_attn.q_proj", "layers.0.q"), ("embed_tokens", "embed"),
                                          ("layers.1.input_layernorm", "layers.1.attn_norm")])
def test_weights_beyond_float16_are_refused_in_every_scheme(tmp_path, tensor, name):
    checkpoint, file = tmp_path / "checkpoint", tmp_path / "m.pte"
    shutil.copytree(DREAM, checkpoint)
    (weights,) = checkpoint.glob("*.safetensors")
    tensors = load_file(weights)
    tensors[f"model.{tensor}.weight"].reshape(-1)[77 % tensors[f"model.{tensor}.weight"].size] = 1e5
    save_file(tensors, weights)
    for scheme in ("fp16", "int8", "int4"):
        told = fail("export", checkpoint, file, "--backend", "coreml", "--quantization", scheme)
        assert f"weight '{name}.weight" in told and "holds numbers of magnitude 100000, and float16" in told
        assert told.endswith("use backend xnnpack, or qnn with int8 weights") and not file.exists()
    run("export", checkpoint, file)


def test_numbers_that_scaled_weights_lead_to_are_looked_at(tmp_path):
    """What a gate all but closes gets small steps: with --rounding awq such numbers become larger than the model's own."""
    checkpoint, data, recipe = tmp_path / "checkpoint", tmp_path / "data.jsonl", tmp_path / "recipe.json"
    data.write_text('{"ids": [5, 6, 7, 8, 9, 10, 11, 12]}\n')
    recipe.write_text('{"tensors": [{"pattern": "embed*", "scheme": "int8-weight-only"}]}')
    shutil.copytree(DREAM, checkpoint)
    (weights,) = checkpoint.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["model.layers.1.mlp.up_proj.weight"][7] *= 2e4
    tensors["model.layers.1.mlp.gate_proj.weight"][7] *= 1e-12
    save_file(tensors, weights)
    command = ("export", checkpoint, tmp_path / "m.pte", "--backend", "coreml", "--quantization", "int4", "--calibration", data,
               "--calibration-samples", "2", "--quantization-config", recipe, "--rounding")
    run(*command, "gptq")
    done = start(*command, "awq")
    assert done.returncode == 1 and "'layers.1.linear.5' reaches 1114" in done.stderr
    assert "float16, in which this backend computes, ends at 65504" in done.stderr
    run("export", DREAM, tmp_path / "sound.pte", *command[3:], "awq")


def test_a_model_package_alone(tmp_path):
    package = tmp_path / "m.mlpackage"
    command = ("export", SDAR, package, "--backend", "coreml", "--emit", "mlpackage")
    report = run_json(*command)
    files = [f for f in package.rglob("*") if f.is_file()]
    assert report["file_bytes"] == sum(f.stat().st_size for f in files) and report["quantised_tensors"] == 15 and "parts" not in report
    assert sorted(f.name for f in files) == ["Manifest.json", "model.mlmodel", "weight.bin"]
    before = {f: f.read_bytes() for f in files}
    model = (package / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    for name in (b"embedded", b"cos", b"sin", b"mask", b"k_0", b"v_1", b"logits", b"new_k_0", b"new_v_1"):
        assert name in model
    assert run(*command, "--quantization", "int8").startswith(f"{package}: ")
    assert {f: f.read_bytes() for f in files} == before
    run(*command, "--quantization", "fp16")  # replaces it
    assert (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size > report["file_bytes"]


def test_a_package_replaces_nothing_else(tmp_path):
    checkpoint, folder, file = tmp_path / "checkpoint", tmp_path / "folder", tmp_path / "file"
    shutil.copytree(SDAR, checkpoint)
    folder.mkdir()
    (folder / "mine").write_text("mine")
    file.write_text("mine")
    for place in (checkpoint, folder, file):
        before = sorted(str(f) for f in tmp_path.rglob("*"))
        assert "is there and no model package" in fail("export", checkpoint, place, "--backend", "coreml", "--emit",
                                                       "mlpackage")
        assert sorted(str(f) for f in tmp_path.rglob("*")) == before
    assert (folder / "mine").read_text() == file.read_text() == "mine"


def test_a_manifest_of_others_stays(tmp_path):
    for name in ("Manifest.json", "manifest.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text('{"name": "my extension"}')
        assert "is there and no model package" in fail("export", SDAR, folder, "--backend", "coreml", "--emit", "mlpackage")
        assert [(f.name, f.read_text()) for f in folder.iterdir()] == [(name, '{"name": "my extension"}')]


def test_a_name_that_says_something_else_is_told(tmp_path):
    coreml = ("--backend", "coreml", "--quantization", "fp16")
    told = start("export", SDAR, tmp_path / "m.pte", *coreml, "--emit", "mlpackage").stderr
    assert f"'{tmp_path}/m.pte' becomes a model package, a folder" in told
    told = start("export", SDAR, tmp_path / "n.mlpackage", *coreml).stderr
    assert f"'{tmp_path}/n.mlpackage' is named as a model package, but becomes a program" in told
    for name, emit in (("p.mlpackage", "mlpackage"), ("q.bin", "pte")):
        assert "model package" not in start("export", SDAR, tmp_path / name, *coreml, "--emit", emit).stderr


def test_names_of_compute_units(tmp_path):
    for word, name in (("cpu-only", "cpu_only"), ("cpu-and-gpu", "cpu_and_gpu"), ("cpu_and_ane", "cpu_and_ne")):
        run("export", SDAR, tmp_path / "m.pte", "--backend", "coreml", "--compute-units", word)
        methods = run_json("inspect", tmp_path / "m.pte")["methods"]
        assert {d["options"]["compute_units"] for m in methods for d in m["delegates"] if d["id"] == "CoreMLBackend"} == {name}


def test_what_a_killed_export_left_of_a_package_is_taken(tmp_path):
    package = tmp_path / "m.mlpackage"
    (package / "Data/com.apple.CoreML/weights").mkdir(parents=True)
    report = run_json("export", SDAR, package, "--backend", "coreml", "--emit", "mlpackage")
    assert report["file_bytes"] and (package / "Manifest.json").is_file()


def test_scaled_inputs_and_calibration_data_go_together(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"ids": [5, 6, 7, 8, 9, 10, 11, 12]}\n')
    report = run_json("export", SDAR, tmp_path / "m.pte", "--backend", "coreml", "--quantization", "int4-g32", "--rounding", "awq",
                      "--calibration", data, "--calibration-samples", "2")
    assert report["quantization"] == "int4-g32-weight-only"


def test_static_activations_are_not_for_qnn(tmp_path):
    recipe = tmp_path / "r.json"
    recipe.write_text('{"tensors": [{"pattern": "layers.0.down", "scheme": "int8-static"}]}')
    told = fail("export", tmp_path / "no such checkpoint", tmp_path / "m.pte", "--backend", "qnn", "--quantization-config", recipe,
                env=NO_QNN)
    assert told.startswith("int8-static cannot be written by backend qnn")
    assert [f.name for f in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("kind, says", [("cut", "is cut off: it has 10 bytes of "), ("fifo", "is not a regular file"),
                                        ("folder", "is not a regular file")])
def test_files_that_are_no_libraries_are_not_opened(tmp_path, kind, says):
    """The loader would wait for a FIFO, and end the process for what is cut off."""
    package = tmp_path / "lib/python3.11/site-packages/onnxruntime_qnn"
    package.mkdir(parents=True)
    for name in ("libQnnHtp.so", "libHtpPrepare.so"):
        if kind == "fifo":
            os.mkfifo(package / name)
        elif kind == "folder":
            (package / name).mkdir()
        else:
            (package / name).write_bytes(b"\x7fELF\2\1\1\0\0\0")
    told = fail("export", SDAR, tmp_path / "m.pte", "--backend", "qnn", "--qnn-lib-dir", package, env=NO_QNN)
    assert told.startswith(f"Qualcomm's libraries cannot be loaded: '{package}/libHtpPrepare.so' ") and says in told
    assert "; install them again with 'pip install --force-reinstall" in told
    found = run_json("doctor", env={**NO_QNN, "PATH": f"{tmp_path}/bin:/usr/bin:/bin"})["backends"]
    assert [b["reason"] for b in found if b["name"] == "qnn"] == [told]


def test_a_kit_that_is_named_is_taken_or_an_error(tmp_path):
    """An installed package may be of a version that phones refuse: it is no substitute."""
    package = tmp_path / "lib/python3.11/site-packages/onnxruntime_qnn"
    plain, kit = tmp_path / "plain", tmp_path / "kit"
    for folder in (package, plain, kit / "lib/x86_64-linux-clang", tmp_path / "empty"):
        folder.mkdir(parents=True)
    for folder in (package, plain, kit / "lib/x86_64-linux-clang"):
        for name in ("libQnnHtp.so", "libHtpPrepare.so"):
            (folder / name).write_bytes(b"\x7fELF\2\1\1\0\0\0")
    env = {**NO_QNN, "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    for root, found in (("", package), (kit, kit / "lib/x86_64-linux-clang"), (plain, plain), (tmp_path / "empty", None),
                        (tmp_path / "nowhere", None)):
        told = fail("export", SDAR, tmp_path / "m.pte", "--backend", "qnn", env={**env, "QNN_SDK_ROOT": str(root)})
        assert told.startswith(f"Qualcomm's libraries cannot be loaded: '{found}/libHtpPrepare.so' " if found else
                               f"$QNN_SDK_ROOT is '{root}', and neither 'lib/")
        backends = run_json("doctor", env={**env, "QNN_SDK_ROOT": str(root)})["backends"]
        assert [b["reason"] for b in backends if b["name"] == "qnn"] == [told]


def test_advice_fits_the_backend_of_the_file(tmp_path):
    file = tmp_path / "m.pte"
    run("export", SDAR, file, "--backend", "CoreML")
    told = fail("generate", file, "--token-ids", "5 6 7")
    assert "method 'forward' uses delegate 'CoreMLBackend'" in told and told.endswith("for this runtime export with --backend xnnpack")
    assert "validate a file of backend xnnpack" in fail("export", SDAR, file, "--validate-only")


def test_bounds_that_a_fixed_file_does_not_allow(tmp_path):
    file = tmp_path / "m.pte"
    run("export", SDAR, file, "--backend", "coreml", "--max-seq-len", "64")
    memory = run_json("inspect", file)["memory"]
    assert (memory["max_rows"], memory["kv_type"]) == (4, "float16")
    assert run_json("inspect", file, "--max-rows", "4", "--kv-cache", "float16", "--kv-positions", "64")["memory"] == memory
    for options, says in ((["--max-rows", "5"], "a session of 5 rows a call was asked for; the file allows 1 to 4"),
                          (["--kv-cache", "int8"], "'int8' were asked for; sessions over this file keep them as float16"),
                          (["--kv-cache", "float32"], "keep them as float16"),
                          (["--kv-positions", "63"], "each session over this file has one of 64"),
                          (["--max-context", "65"], "the file allows 1 to 64")):
        assert says in fail("inspect", file, *options)


def test_help_says_what_each_chip_has():
    told = " ".join(run("export", "--help").split())
    assert "SM8450 Snapdragon 8 Gen 1, V69: a16w8, a16w4 " in told
    assert "SC8380XP Snapdragon X Elite, V73: a16w8, a16w4, a16w4-g32, fp16" in told
