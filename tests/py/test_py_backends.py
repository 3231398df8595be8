"""The original's backends, and quantisation for them: what can be written is what is said to be, and options reach the file
as the official runtime reads it."""

import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from exported_files import DATA
from oracles import oracle, required
from program import start

import diffulex_edge
from diffulex_edge.backends import (
    BackendConfig,
    BackendRegistry,
    CoreMLBackend,
    EdgeBackend,
    QNNBackend,
    XNNPACKBackend,
)
from diffulex_edge.export import ExportConfig, export_model
from diffulex_edge.export.exporter import DiffuLexExporter

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = DATA / "checkpoints" / "sdar-tiny"
QNN = sys.platform == "linux" and importlib.util.find_spec("onnxruntime_qnn") is not None
needs_qnn = pytest.mark.skipif(not QNN and not required("onnxruntime_qnn"),
                               reason="no package onnxruntime-qnn: files for Qualcomm's chips are NOT checked")
SAMPLES = {"calibration_samples": 2, "calibration_length": 32}


def delegates(data):
    """[(name, {key of a compile spec: its bytes})] but for XNNPACK's, by the official reader."""
    reader = oracle("executorch.exir._serialize._program", "options of delegates are")
    plan = reader.deserialize_pte_binary(data).program.execution_plan[0]
    return [(d.id, {s.key: bytes(s.value) for s in d.compile_specs}) for d in plan.delegates if d.id != "XnnpackBackend"]


def chip(data):
    """The number of the chip that a file's delegate is for: QnnExecuTorchOptions.soc_info.soc_model, a FlatBuffer."""
    ((name, specs),) = delegates(data)
    assert name == "QnnBackend"
    options = specs["qnn_compile_spec"]

    def first_field(table):
        (back,) = struct.unpack_from("<i", options, table)
        return table + struct.unpack_from("<H", options, table - back + 4)[0]

    def follow(at):
        return at + struct.unpack_from("<I", options, at)[0]

    return struct.unpack_from("<I", options, first_field(follow(first_field(follow(0)))))[0]


def exported(backend, **options):
    config = BackendConfig(backend, max_seq_len=64, backend_options=options)
    result = BackendRegistry.create(backend, config).export(CHECKPOINT)
    assert result.success, result.error_message
    return result


# ---- what is there ---------------------------------------------------------------------------------------------------


def test_registry():
    class Mine(EdgeBackend):
        name = "mine"

        def is_available(self):
            return True

    assert {n: BackendRegistry.get(n) for n in ("xnnpack", "CoreML", "QNN")} == {
        "xnnpack": XNNPACKBackend, "CoreML": CoreMLBackend, "QNN": QNNBackend}
    assert BackendRegistry.get("vulkan") is None and "mine" not in BackendRegistry.list_backends()
    try:
        BackendRegistry.register("Mine", Mine)
        assert isinstance(BackendRegistry.create("mine"), Mine)
        assert BackendRegistry.create("mine").export("x").error_message == "backend 'mine' exports nothing"
    finally:
        BackendRegistry._classes.pop("mine", None)
    from diffulex_edge.backends.coreml_backend import CoreMLBackend as of_the_original
    from diffulex_edge.backends.qnn_backend import QNNBackend as too
    assert (of_the_original, too) == (CoreMLBackend, QNNBackend)


def test_available_is_what_can_be_exported(tmp_path):
    for kind in (XNNPACKBackend, CoreMLBackend):
        assert kind().is_available() is True and kind().missing() is None
    nowhere = QNNBackend(BackendConfig("qnn", backend_options={"qnn_lib_dir": tmp_path}))
    assert nowhere.is_available() is False and str(tmp_path) in nowhere.missing()
    assert nowhere.export(CHECKPOINT).error_message == nowhere.missing()
    assert "pip install onnxruntime-qnn" in nowhere.missing() and nowhere.get_metadata()["missing"] == nowhere.missing()
    for name in ("xnnpack", "coreml", "qnn"):
        about = BackendRegistry.create(name).get_metadata()
        assert about["name"] == name and about["available"] is (about["missing"] is None)
        assert about["quantization"] == [s.name for s in diffulex_edge.export_schemes() if name in s.backends]
    assert QNNBackend().get_metadata()["supported_soc"] == [s.name for s in diffulex_edge.export_socs()]
    diffulex_edge.check_backend("coreml", minimum_deployment_target="iOS16", compute_units="all", emit="mlpackage")
    for keywords, kind in (({"backend": "coreml", "kv": "caller"}, diffulex_edge.UnsupportedError),
                           ({"backend": "coreml", "quantization": "none"}, diffulex_edge.UnsupportedError),
                           ({"emit": "mlpackage"}, ValueError), ({"soc": "SM8650"}, ValueError),
                           ({"backend": "qnn", "qnn_lib_dir": tmp_path}, diffulex_edge.UnsupportedError)):
        with pytest.raises(kind):
            diffulex_edge.check_backend(**keywords)


def test_nothing_is_available_without_the_library():
    code = ("from diffulex_edge.backends import *\n"
            "for b in (XNNPACKBackend(), CoreMLBackend(), QNNBackend()):\n"
            "    assert not b.is_available() and 'DLX_LIBRARY' in b.missing(), b.missing()\n"
            "    assert b.get_metadata()['quantization'] == []\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "DLX_LIBRARY": "/nowhere/lib.so"})
    assert done.returncode == 0, done.stderr


@needs_qnn
def test_the_libraries_of_this_interpreter_are_found(tmp_path):
    """Which no shell would start: neither $PATH nor $VIRTUAL_ENV leads to them."""
    code = "from diffulex_edge.backends import *; print(QNNBackend().is_available())"
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "QNN_SDK_ROOT")}
    environment.update(PATH="/usr/bin:/bin", HOME=str(tmp_path), PYTHONPATH=str(ROOT / "python"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["True"], done.stderr


@needs_qnn
def test_exceptions_of_torch_survive_the_libraries():
    """Qualcomm's package has an unwinder of its own, which must not become that of the process."""
    oracle("torch", "what the libraries leave behind is")
    code = ("import diffulex_edge\ndiffulex_edge.check_backend('qnn')\nimport torch\n"
            "try:\n    torch.zeros(2) + torch.zeros(3)\nexcept RuntimeError:\n    print('raised')\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["raised"]), done.stderr


@needs_qnn
def test_the_libraries_leave_cplusplus_exceptions_alone(tmp_path):
    """Of a library that is loaded behind them, in a process that had none before."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no C++ compiler: what Qualcomm's libraries leave of exceptions is NOT checked")
    (tmp_path / "throws.cpp").write_text("#include <stdexcept>\nextern \"C\" int throws(void)\n{\n    try {\n        "
                                         "throw std::runtime_error(\"x\");\n    } catch (const std::exception &) {\n"
                                         "        return 7;\n    }\n}\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "throws.so", tmp_path / "throws.cpp"], check=True)
    code = ("import ctypes, sys, diffulex_edge\nif 'libgcc_s' in open('/proc/self/maps').read():\n    sys.exit(3)\n"
            f"diffulex_edge.check_backend('qnn')\nprint('caught', ctypes.CDLL({str(tmp_path / 'throws.so')!r}).throws())\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    if done.returncode == 3:
        pytest.skip("this Python has libgcc_s already: what Qualcomm's libraries leave of exceptions is NOT checked")
    assert (done.returncode, done.stdout.split()[-2:]) == (0, ["caught", "7"]), done.stderr


@needs_qnn
def test_a_check_opens_the_libraries_once(tmp_path):
    code = "import diffulex_edge; print(diffulex_edge.check_backend('qnn'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "LD_DEBUG": "files",
                               "LD_DEBUG_OUTPUT": str(tmp_path / "loader")})
    assert re.fullmatch(r"QNN v\d+\.\d+\S* in /.*onnxruntime_qnn", done.stdout.splitlines()[-1]), done.stderr
    told = "".join(path.read_text() for path in tmp_path.glob("loader.*"))
    assert len(re.findall(r"opening file=\S*/libQnnHtp\.so ", told)) == 1, told[-2000:]


# ---- options ---------------------------------------------------------------------------------------------------------


def test_options_of_core_ml_are_in_the_file():
    version = {"iOS16": b"7", "iOS17": b"8", "iOS18": b"9"}
    for units, stored in (("all", "all"), ("cpu_only", "cpu_only"), ("cpu_and_gpu", "cpu_and_gpu"),
                          ("cpu_and_ane", "cpu_and_ne"), ("cpu_and_ne", "cpu_and_ne")):
        for target in version if units == "all" else ("iOS17",):
            result = exported("coreml", compute_unit=units, minimum_deployment_target=target)
            ((name, specs),) = delegates(result.buffer)
            assert name == "CoreMLBackend" and specs["compute_units"] == stored.encode()
            assert specs["min_deployment_target"] == version[target]
            assert result.metadata["compute_unit"] == stored and result.metadata["minimum_deployment_target"] == target
    ((_, specs),) = delegates(exported("coreml").buffer)
    assert (specs["compute_units"], specs["min_deployment_target"]) == (b"cpu_and_ne", b"9")
    assert len(delegates(exported("coreml", delegate_layers=1).buffer)) == 2
    for options, says in (({"compute_unit": "ane_only"}, "'ane_only' is not a choice that Core ML has"),
                          ({"compute_unit": "npu"}, "expected cpu_only, cpu_and_gpu, cpu_and_ne or all"),
                          ({"minimum_deployment_target": "iOS15"}, "expected iOS16, iOS17 or iOS18"),
                          ({"soc_model": "SM8650"}, "has no option 'soc_model'; expected compute_unit or a keyword"),
                          ({"soc": "SM8650"}, "soc is an option of backend qnn"),
                          ({"emit": "mlpackage"}, "has no option 'emit'"),
                          ({"compute_unit": "all", "compute_units": "all"}, "compute_unit and compute_units are the same option")):
        result = CoreMLBackend(BackendConfig("coreml", backend_options=options)).export(CHECKPOINT)
        assert not result.success and says in result.error_message and result.buffer is None


def test_sentences_name_what_was_given():
    for backend in (CoreMLBackend, XNNPACKBackend):
        assert "a NoneType cannot be exported; expected a checkpoint folder" in backend().export(None).error_message
    with pytest.raises(diffulex_edge.UnsupportedError, match="Model opens programs of backend xnnpack, not of CoreML"):
        diffulex_edge.Model.from_pretrained(CHECKPOINT, backend="CoreML")
    unknown = QNNBackend(BackendConfig("qnn", backend_options={"soc_model": "SM1"}))
    assert unknown.is_available() is False and "no chip 'SM1' is known" in unknown.missing()


def test_chips_say_what_they_have():
    chips = {chip.name: chip for chip in diffulex_edge.export_socs()}
    assert (chips["SM8650"].generation, chips["SM8650"].schemes) == (75, ("a16w8", "a16w4", "a16w4-g32", "fp16"))
    assert (chips["SM8450"].generation, chips["SM8450"].schemes) == (69, ("a16w8", "a16w4"))


def test_a_package_says_how_far_it_is_and_can_be_cancelled(tmp_path):
    path, told = tmp_path / "m.mlpackage", []
    written = diffulex_edge.export_checkpoint(CHECKPOINT, path, backend="coreml", emit="mlpackage",
                                              progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert written.quantised_tensors == 15 and written.float_tensors
    with pytest.raises(diffulex_edge.Cancelled):
        diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "n.mlpackage", backend="coreml", emit="mlpackage",
                                        progress=lambda done, total: False)
    assert [p.name for p in tmp_path.iterdir()] == ["m.mlpackage"]


def test_a_file_whose_delegate_is_not_there_says_so(tmp_path):
    oracle("executorch.runtime", "what a runtime lacks is")
    from diffulex_edge.runtime.executorch import ExecuTorchModel
    diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "m.pte", backend="coreml", max_seq_len=64)
    if sys.platform == "darwin":
        pytest.skip("this runtime has Core ML")
    with pytest.raises(diffulex_edge.UnsupportedError, match="calls CoreMLBackend; this runtime has .*XnnpackBackend.*macOS"):
        ExecuTorchModel(tmp_path / "m.pte")


@needs_qnn
def test_weights_in_contexts_are_counted(tmp_path):
    written = diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "m.pte", backend="qnn", max_seq_len=64, **SAMPLES)
    assert written.quantised_tensors == 16     # layers, head and table


@needs_qnn
def test_the_chip_is_in_the_file():
    numbers = {"sm8450": 36, "SM8475": 42, "sm8550": 43, "SM8650": 57, "sm7475": 54}
    for name, number in numbers.items():
        backend = QNNBackend(BackendConfig("qnn", quantize=True, max_seq_len=64,
                                           backend_options={"soc_model": name, **SAMPLES}))
        result = backend.export(CHECKPOINT)
        assert result.success, result.error_message
        assert chip(result.buffer) == number
        assert result.metadata["soc_model"] == name.upper() and result.metadata["quantization"] == "a16w8"
    result = QNNBackend(BackendConfig("qnn", max_seq_len=64)).export(CHECKPOINT)
    assert result.metadata["quantization"] == "fp16" and chip(result.buffer) == 57
    result = QNNBackend(BackendConfig("qnn", max_seq_len=64, backend_options={"soc_model": "sm8450"})).export(CHECKPOINT)
    assert not result.success and "has no floats of 16 bits" in result.error_message
    result = QNNBackend(BackendConfig("qnn", backend_options={"soc_model": "SM1"})).export(CHECKPOINT)
    assert not result.success and "no chip 'SM1' is known" in result.error_message


def test_modes_are_schemes():
    modes = {"xnnpack": {"weight_only": "int8-weight-only", "dynamic": "int8-dynamic", "static": "int8-static"},
             "coreml": {"weight_only": "int8-weight-only"}}
    for name, schemes in modes.items():
        for mode in ("weight_only", "dynamic", "static", "qat"):
            result = BackendRegistry.create(name, BackendConfig(name, True, mode, max_seq_len=64)).export(CHECKPOINT)
            assert result.success is (mode in schemes), result.error_message
            if result.success:
                assert result.metadata["quantization"] == schemes[mode] and result.metadata["quantization_mode"] == mode
    assert exported("xnnpack").metadata["quantization"] == "none" and exported("xnnpack").metadata["kv"] == "caller"
    assert exported("coreml").metadata["quantization"] == "fp16" and exported("coreml").metadata["kv"] == "fixed-fp16"
    assert exported("coreml", quantization="int4-g32").metadata["quantization"] == "int4-g32-weight-only"
    result = XNNPACKBackend().export(CHECKPOINT, None, BackendConfig(backend_options={"quantization": "bf16"}))
    assert result.metadata["quantization"] == "bf16"


# ---- torch modules ---------------------------------------------------------------------------------------------------


def test_torch_modules():
    torch = oracle("torch", "exported modules are")
    oracle("executorch.exir", "exported modules are")
    module, x = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()), torch.zeros(1, 8)
    result = XNNPACKBackend().export(module, (x,))
    assert result.success and not delegates(result.buffer)
    quantised = XNNPACKBackend(BackendConfig(quantize=True)).export(module, (x,))   # by the caller, as in the original
    assert quantised.success and quantised.metadata["quantized"] and len(quantised.buffer) == len(result.buffer)
    oracle("coremltools", "modules for Core ML are")
    for options, units, target in (({}, b"cpu_and_ne", b"9"),
                                   ({"compute_unit": "cpu_only", "minimum_deployment_target": "iOS16"}, b"cpu_only", b"7")):
        result = CoreMLBackend(BackendConfig("coreml", backend_options=options)).export(module, x)
        assert result.success, result.error_message
        ((name, specs),) = delegates(result.buffer)
        assert (name, specs["compute_units"], specs["min_deployment_target"]) == ("CoreMLBackend", units, target)
    for options, says in (({"compute_unit": "npu"}, "not known to coremltools"), ({"delegate_layers": 1}, "delegate_layers")):
        result = CoreMLBackend(BackendConfig("coreml", backend_options=options)).export(module, x)
        assert not result.success and says in result.error_message


def test_a_module_for_qnn_needs_the_development_kit(monkeypatch):
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)

    class Module:
        def eval(self):
            return self

        def __call__(self):
            pass

    result = QNNBackend().export(Module(), ())
    assert not result.success and "QNN is not available for torch modules" in result.error_message
    assert "QNN_SDK_ROOT" in result.error_message


# ---- what passes options on ------------------------------------------------------------------------------------------


def test_exporter_passes_options_on(tmp_path):
    options = {"compute_unit": "cpu_only", "minimum_deployment_target": "iOS17", "delegate_layers": 1}
    result = export_model(CHECKPOINT, output_path=tmp_path / "a.pte", backend="coreml", quantization="weight_only_int8",
                          max_seq_len=64, backend_options=options)
    assert result.success, result.error_message
    found = delegates((tmp_path / "a.pte").read_bytes())
    assert [specs["compute_units"] for _, specs in found] == [b"cpu_only"] * 2
    assert [specs["min_deployment_target"] for _, specs in found] == [b"8"] * 2
    config = ExportConfig(backend="coreml", output_path=tmp_path / "b.pte", checkpoint_path=CHECKPOINT,
                          backend_options=options)
    assert ExportConfig.from_json(config.to_json()) == config
    assert DiffuLexExporter(config).export().success
    assert diffulex_edge.inspect(tmp_path / "b.pte")["metadata"]["get_quantization"] == ["fp16"]
    for quantization in ("dynamic_int8", "static_int8"):
        result = export_model(CHECKPOINT, output_path=tmp_path / "c.pte", backend="coreml", quantization=quantization)
        assert not result.success and "cannot be written by backend 'coreml'" in result.error_message
    assert not (tmp_path / "c.pte").exists()


@needs_qnn
def test_exporter_and_calibration_for_qnn(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"ids": [5, 6, 7, 8, 9, 10, 11, 12]}\n')
    (tmp_path / "empty.jsonl").write_text("")
    for quantization, scheme in (("static_int8", "a16w8"), ("weight_only_int8", "a16w8"), ("int4", "a16w4")):
        keywords = {"backend": "qnn", "quantization": quantization, "max_seq_len": 64,
                    "backend_options": {"soc_model": "sm8550", **SAMPLES}}
        result = export_model(CHECKPOINT, output_path=tmp_path / "a.pte", calibration_data_path=tmp_path / "data.jsonl",
                              **keywords)
        assert result.success, result.error_message
        assert diffulex_edge.inspect(tmp_path / "a.pte")["metadata"]["get_quantization"] == [scheme]
        assert chip((tmp_path / "a.pte").read_bytes()) == 43
        result = export_model(CHECKPOINT, output_path=tmp_path / "b.pte", calibration_data_path=tmp_path / "empty.jsonl",
                              **keywords)
        assert not result.success and "empty.jsonl" in result.error_message
    with pytest.raises(ValueError, match="the backend has ranges of it as it is"):
        diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "b.pte", backend="qnn", rounding="awq")
    for word, scheme in (("int8", "a16w8"), ("a16w4-g32", "a16w4-g32"), ("16a4w", "a16w4"), ("fp16", "fp16")):
        more = {} if scheme == "fp16" else SAMPLES
        written = diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "b.pte", backend="qnn", quantization=word,
                                                  max_seq_len=64, **more)
        assert (written.quantization, written.kv) == (scheme, "fixed-fp16")


@needs_qnn
def test_ranges_are_kept_read_and_gone_on_with(tmp_path):
    ranges, data, work = tmp_path / "ranges.json", tmp_path / "data.jsonl", tmp_path / "b.pte.work.ranges"
    data.write_text('{"ids": [5, 6, 7, 8, 9, 10, 11, 12]}\n')

    def export(name, **options):
        diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / name, backend="qnn", max_seq_len=64, **options)
        return (tmp_path / name).read_bytes()

    # What Qualcomm's compiler writes depends on what it did before in the process: files of the first export are compared.
    for name, *more in (("a", "--calibration", data, "--calibration-samples", 3, "--save-ranges", ranges), ("b", "--ranges", ranges)):
        done = start("export", CHECKPOINT, tmp_path / f"{name}.pte", "--backend", "qnn", "--max-seq-len", 64, "--qnn-lib-dir",
                     Path(importlib.util.find_spec("onnxruntime_qnn").origin).parent, *more)
        assert done.returncode == 0, done.stderr
    wanted, kept = (tmp_path / "a.pte").read_bytes(), ranges.read_bytes()
    assert (tmp_path / "b.pte").read_bytes() == wanted
    assert len(json.loads(kept)["tensors"]) > 100 and kept in wanted
    calibrated, seen = {"calibration": data, "calibration_samples": 3}, []

    def stop(name, done, total):
        seen.append((name, done, total))
        return name != "ranges" or done < total - 1
    with pytest.raises(diffulex_edge.Cancelled, match="b.pte.work.ranges"):
        export("b.pte", stage=stop, **calibrated)
    assert (tmp_path / "b.pte").read_bytes() == wanted and work.is_dir()
    stopped = len(seen)
    assert kept in export("b.pte", stage=lambda *row: seen.append(row), **calibrated) and not work.exists()
    again = (tmp_path / "b.pte").read_bytes()
    assert len([row for row in seen[stopped:] if row[0] == "ranges"]) < len([row for row in seen[:stopped] if row[0] == "ranges"])
    assert seen[-1][0] == "ranges" and seen[-1][1] == seen[-1][2]
    static = tmp_path / "static.json"
    diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "c.pte", quantization="int8-static", save_ranges=static, **calibrated)
    for options, kind, says in ((dict(ranges=static), diffulex_edge.FormatError, "for this backend"),
                                (dict(ranges=ranges, quantization="fp16"), ValueError, "integers of backend qnn"),
                                (dict(ranges=ranges, **calibrated), ValueError, "without a file of ranges"),
                                (dict(ranges=ranges, rounding="awq"), ValueError, "ranges of it as it is"),
                                (dict(observer="minmax"), ValueError, "over all that was seen"),
                                (dict(quantization="int4-g32", soc="SM8450"), diffulex_edge.UnsupportedError, "each block of a row"),
                                (dict(exclude="layers.1.down"), diffulex_edge.UnsupportedError, "is a float")):
        with pytest.raises(kind, match=says):
            export("b.pte", stage=lambda *row: pytest.fail("it was told too late"), **options)
    assert (tmp_path / "b.pte").read_bytes() == again and not list(tmp_path.glob("*.work*"))


def test_looking_for_numbers_beyond_float16_goes_on_too(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"ids": [5, 6, 7, 8, 9, 10, 11, 12]}\n')
    keywords = {"backend": "coreml", "max_seq_len": 64, "calibration": tmp_path / "data.jsonl", "calibration_samples": 3}
    with pytest.raises(diffulex_edge.Cancelled, match="a.pte.work.ranges"):
        diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "a.pte", **keywords,
                                        stage=lambda name, done, total: name != "ranges" or done < total - 1)
    seen = []
    diffulex_edge.export_checkpoint(CHECKPOINT, tmp_path / "a.pte", **keywords, stage=lambda *row: seen.append(row))
    ranges = [row for row in seen if row[0] == "ranges"]
    assert 0 < ranges[0][1] < ranges[0][2] == ranges[-1][1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pte", "data.jsonl"]


def test_quantising_for_core_ml(tmp_path):
    from diffulex_edge.quant import INT4Quantizer, INT8Quantizer, get_model_size_info, quantize_model

    def scheme(path):
        return diffulex_edge.inspect(path)["metadata"]["get_quantization"][0]

    keywords = {"backend": "coreml", "output_path": tmp_path / "a.pte", "max_seq_len": 64}
    for dtype, more, wanted in (("int8", {}, "int8-weight-only, mixed"), ("int4", {}, "int4-g32-weight-only, mixed"),
                                ("int4", {"group_size": 0, "exclude_layers": ()}, "int4-weight-only"),
                                ("fp16", {"exclude_layers": ()}, "fp16")):
        assert scheme(quantize_model(CHECKPOINT, dtype, **more, **keywords)) == wanted
    quantize_model(CHECKPOINT, compute_units="cpu_only", minimum_deployment_target="iOS17", **keywords)
    ((_, specs),) = delegates((tmp_path / "a.pte").read_bytes())
    assert (specs["compute_units"], specs["min_deployment_target"]) == (b"cpu_only", b"8")
    result = INT8Quantizer().quantize(CHECKPOINT, **keywords)
    assert result.metrics["converted_linear_layers"] == 14 and result.metrics["converted_embedding_layers"] == 1
    payload = sum(d["payload_bytes"] for d in diffulex_edge.inspect(result.model)["methods"][0]["delegates"]
                  if d["id"] == "CoreMLBackend")
    total = get_model_size_info(result)[2]
    assert total == result.metrics["quantized_memory_mb"] and payload / 2**20 < total < result.model.stat().st_size / 2**20
    assert scheme(INT4Quantizer().quantize(CHECKPOINT, **keywords).model) == "int4-g32-weight-only, mixed"
    for arguments, says in ((("int8", "dynamic"), "int8 with mode weight_only"), (("fp32",), "there are fp16"),
                            (("int4", "static"), "with backend 'coreml'")):
        with pytest.raises(ValueError, match=says):
            quantize_model(CHECKPOINT, *arguments, **keywords)
    with pytest.raises(ValueError, match="export_checkpoint takes emit"):
        quantize_model(CHECKPOINT, emit="mlpackage", **keywords)


def test_names_of_files_have_the_backend(tmp_path, monkeypatch):
    from diffulex_edge.quant import quantize_model

    monkeypatch.chdir(tmp_path)
    assert quantize_model(CHECKPOINT, backend="coreml", max_seq_len=64) == Path("sdar-tiny-coreml-int8-weight-only.pte")
    assert quantize_model(CHECKPOINT, max_seq_len=64) == Path("sdar-tiny-int8-weight-only.pte")


@needs_qnn
def test_quantising_for_qnn(tmp_path):
    from diffulex_edge.quant import BaseQuantizer, INT4Quantizer, quantize_model

    keywords = {"backend": "qnn", "soc": "sm8550", "output_path": tmp_path / "a.pte", "max_seq_len": 64, **SAMPLES}
    for quantise, wanted in ((lambda: quantize_model(CHECKPOINT, **keywords), "a16w8"),
                             (lambda: INT4Quantizer().quantize(CHECKPOINT, **keywords).model, "a16w4-g32"),
                             (lambda: quantize_model(CHECKPOINT, "int4", group_size=0, **keywords), "a16w4")):
        path = quantise()
        assert diffulex_edge.inspect(path)["metadata"]["get_quantization"] == [wanted] and chip(path.read_bytes()) == 43
    result = BaseQuantizer().quantize(CHECKPOINT, **keywords)
    assert result.metrics["quantization"] == "a16w8" and result.metrics["converted_layers"] == 16
    for more, kind, says in (({"group_size": 64, "dtype": "int4"}, ValueError, "there are 32"),
                             ({"exclude_layers": ("layers.0",)}, diffulex_edge.UnsupportedError, "is a float"),
                             ({"preserve_activation_precision_layers": ("layers.0",)}, ValueError, "grids of 16 bits")):
        with pytest.raises(kind, match=says):
            quantize_model(CHECKPOINT, **keywords, **more)


def test_script_passes_options_on(tmp_path):
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "diffulex_edge.scripts.export_model", *map(str, arguments)],
                              capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python")})

    done = run(CHECKPOINT, "-o", tmp_path / "a.pte", "--backend", "coreml", "--compute-unit", "cpu_and_ane", "--kv", "fixed",
               "--minimum-deployment-target", "iOS17", "--delegate-layers", 1, "--max-seq-len", 64)
    assert done.returncode == 0, done.stderr
    found = delegates((tmp_path / "a.pte").read_bytes())
    assert [(s["compute_units"], s["min_deployment_target"]) for _, s in found] == [(b"cpu_and_ne", b"8")] * 2
    metadata = diffulex_edge.inspect(tmp_path / "a.pte")["metadata"]
    assert metadata["get_quantization"] == ["fp16"] and metadata["get_kv_form"] == ["fixed"]
    done = run(CHECKPOINT, "-o", tmp_path / "b.pte", "--backend", "qnn", "--soc", "sm8550", "--qnn-lib-dir", tmp_path)
    assert done.returncode == 1 and "has no libQnnHtp.so" in done.stderr and not (tmp_path / "b.pte").exists()
    assert "SM8650" in run("--help").stdout
