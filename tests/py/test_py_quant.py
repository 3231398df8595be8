"""diffulex_edge.quant: the original's names for quantising, on checkpoint folders."""
import dataclasses
import inspect
import json
import os
import sys
from pathlib import Path

import numpy
import pytest
from oracles import oracle

import diffulex_edge
from diffulex_edge import quant
from diffulex_edge.quant import QuantizationConfig, QuantizationDtype, QuantizationMode

CHECKPOINTS = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
FAMILIES = ("dream", "fast_dllm_v2", "llada", "sdar")
SDAR = CHECKPOINTS / "sdar-tiny"


def kinds(path):
    return {kind["kind"]: kind["layers"] for kind in diffulex_edge.inspect(path)["linears"]}


def test_fields_and_defaults_are_the_originals():
    fields = [(f.name, f.default) for f in dataclasses.fields(QuantizationConfig)]
    assert fields[:9] == [
        ("dtype", QuantizationDtype.INT8),
        ("mode", QuantizationMode.DYNAMIC),
        ("exclude_layers", ("lm_head", "norm", "embedding")),
        ("preserve_precision_layers", ("layernorm", "rmsnorm", "softmax")),
        ("is_per_channel", True),
        ("is_qat", False),
        ("scheme", None),
        ("calibration_samples", 100),
        ("preserve_activation_precision_layers", ("lm_head",)),
    ]
    config = QuantizationConfig("INT4", "DYNAMIC")
    assert (config.dtype, config.mode) == (QuantizationDtype.INT4, QuantizationMode.DYNAMIC)


@pytest.mark.parametrize("settings, word", [
    ({}, "int8-dynamic"), ({"mode": "static"}, "int8-static"), ({"mode": "weight_only"}, "int8-weight-only"),
    ({"dtype": "fp16"}, "fp16"), ({"dtype": "fp32"}, "none"), ({"dtype": "int4"}, "int4-g32"),
    ({"dtype": "int4", "group_size": 128}, "int4-g128"), ({"dtype": "int4", "group_size": 0}, "int4"),
    ({"scheme": "bf16"}, "bf16"),
])
def test_words_of_configurations(settings, word):
    assert QuantizationConfig(**settings).quantization == word
    assert word in {scheme.name for scheme in diffulex_edge.export_schemes()}


@pytest.mark.parametrize("settings, sentence", [
    ({"mode": "qat"}, "training"), ({"is_qat": True}, "training"), ({"is_per_channel": False}, "each row"),
    ({"dtype": "int4", "mode": "weight_only"}, "int4 with mode"), ({"dtype": "int4", "group_size": 256}, "group_size is 256"),
    ({"dtype": "fp16", "mode": "static"}, "fp16 with mode"), ({"scheme": "int5"}, "int5"),
    ({"calibration": "none.jsonl"}, "calibration"), ({"observer": "minmax"}, "ranges"),
])
def test_what_cannot_be_done_is_refused_before_anything_is_written(settings, sentence, tmp_path):
    with pytest.raises((ValueError, RuntimeError), match=sentence):
        quant.BaseQuantizer().quantize(SDAR, QuantizationConfig(**settings), output_path=tmp_path / "m.pte")
    assert not list(tmp_path.iterdir())


def test_refusals_of_quantisers(tmp_path):
    out = tmp_path / "m.pte"
    for call, error, sentence in (
        (lambda: quant.quantize_model(SDAR, "int5", output_path=out), ValueError, "int5"),
        (lambda: quant.quantize_model(SDAR, scheme="int4", quantization="fp16", output_path=out), ValueError, "the same"),
        (lambda: quant.quantize_model(SDAR, group_sise=64, output_path=out), TypeError, "group_sise"),
        (lambda: quant.INT8Quantizer().quantize(SDAR, scheme="int4", output_path=out), ValueError, "scheme 'int4'"),
        (lambda: quant.quantize_model(SDAR, mode="none", output_path=out), ValueError, "none"),
        (lambda: quant.quantize_model(SDAR, "int4", "weight_only", output_path=out), ValueError, "int4 with mode"),
        (lambda: quant.quantize_model(object(), output_path=out), TypeError, "checkpoint folder"),
        (lambda: quant.quantize_model(tmp_path / "no", output_path=out), FileNotFoundError, "no"),
        (lambda: quant.WeightOnlyQuantizer().quantize(SDAR, QuantizationConfig("int4")), ValueError, "weight-only"),
        (lambda: quant.WeightOnlyQuantizer().quantize(SDAR, QuantizationConfig(mode="static")), ValueError, "static"),
        (lambda: quant.FP16Quantizer().quantize(SDAR, QuantizationConfig(scheme="int4")), ValueError, "scheme 'int4'"),
        (lambda: quant.INT4Config(group_size=256), ValueError, "256"),
        (lambda: quant.INT4Config(weight_only=True), ValueError, "weight_only"),
        (lambda: quant.QuantizedLinear.from_float(None), RuntimeError, "QuantizedLinear is a torch module"),
        (lambda: QuantizationConfig(exclude_layers="lm_head"), ValueError, "a sequence"),
    ):
        with pytest.raises(error, match=sentence):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings, error, sentence", [
    ({"dtype": "int5"}, ValueError, "dtype is 'int5'; there are fp32, fp16, int8, int4"),
    ({"dtype": 8}, TypeError, "dtype is 8, of type int; expected one of fp32"),
    ({"mode": "fast"}, ValueError, "mode is 'fast'; there are dynamic, static, weight_only, qat"),
    ({"mode": None}, TypeError, "mode is None"),
    ({"exclude_layers": None}, TypeError, "exclude_layers is None, of type NoneType; give a sequence of texts"),
    ({"exclude_layers": (3,)}, TypeError, "exclude_layers holds 3, of type int; expected texts"),
    ({"exclude_layers": ("lm_head", "")}, ValueError, "exclude_layers holds an empty text, which is part of every name"),
    ({"preserve_precision_layers": ("conv",)}, ValueError, "'conv' is no kind of layer; linear and embedding are"),
    ({"preserve_activation_precision_layers": b"x"}, TypeError, "preserve_activation_precision_layers is b'x'"),
    ({"is_qat": "yes"}, TypeError, "is_qat is 'yes', of type str; expected True or False"),
    ({"is_per_channel": 1}, TypeError, "is_per_channel is 1"),
    ({"calibration_samples": -1}, ValueError, "calibration_samples is -1; expected 0 to 2147483647"),
    ({"calibration_samples": 2.5}, TypeError, "calibration_samples is 2.5, of type float; expected a whole number"),
    ({"group_size": "32"}, TypeError, "group_size is '32'"), ({"group_size": True}, TypeError, "group_size is True"),
    ({"calibration_seed": None}, TypeError, "calibration_seed is None"),
    ({"scheme": 4}, TypeError, "scheme is 4, of type int; expected a text, or None"),
    ({"rounding": 4}, TypeError, "rounding is 4"), ({"recipe": {}}, TypeError, "recipe is {}, of type dict"),
    ({"dtype": "int4", "scheme": "fp16"}, ValueError, "scheme is 'fp16' and dtype is int4, which contradict each other"),
    ({"dtype": "fp16", "scheme": "int8-dynamic"}, ValueError, "dtype is fp16, which contradict"),
    ({"mode": "static", "scheme": "int8_dynamic"}, ValueError, "scheme is 'int8_dynamic' and mode is static"),
    ({"mode": "weight_only", "scheme": "int4-g32"}, ValueError, "mode is weight_only, which contradict"),
    ({"exclude_layer": ()}, TypeError, "QuantizationConfig has no keyword 'exclude_layer'; did you mean exclude_layers"),
])
def test_settings_are_checked_by_name(settings, error, sentence):
    with pytest.raises(error, match=sentence):
        QuantizationConfig(**settings)


def test_settings_that_agree_are_taken():
    for settings in ({"dtype": "fp16", "scheme": "float16"}, {"mode": "static", "scheme": "static_int8"},
                     {"mode": "weight_only", "scheme": "fp16"}, {"dtype": "int4", "scheme": "a16w4-g32"},
                     {"mode": "static", "scheme": "a16w8"}, {"exclude_layers": ["Lm_Head"]},
                     {"preserve_precision_layers": ("norm", "Linear")}):
        assert isinstance(QuantizationConfig(**settings), QuantizationConfig)
    assert QuantizationConfig(calibration_samples=numpy.int32(4)).calibration_samples == 4


@pytest.mark.parametrize("settings, sentence", [
    ({"exclude_layers": ("lm_head", "layers.9.mlp")}, "exclude_layers: 'layers.9.mlp' is part of no name in this model; the "
                                                      "nearest are .*layers.0.mlp"),
    ({"preserve_activation_precision_layers": ("heads",)}, "preserve_activation_precision_layers: 'heads' is part of no name"),
])
def test_parts_that_name_nothing(settings, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        quant.quantize_model(SDAR, output_path=tmp_path / "m.pte", **settings)
    assert not list(tmp_path.iterdir())
    quant.quantize_model(SDAR, output_path=tmp_path / "m.pte", exclude_layers=("NORM", "embedding", "layers.1.MLP"))


@pytest.mark.parametrize("keywords, error, sentence", [
    ({"group_sise": 64}, TypeError, "quantising has no keyword 'group_sise'; did you mean group_size"),
    ({"max_seq": 64}, TypeError, "did you mean max_seq_len"), ({"zzz": 1}, TypeError, "no keyword 'zzz'; there are backend, "),
    ({"max_seq_len": 1 << 32 | 64}, ValueError, "max_seq_len is 4294967360; expected 0 to 2147483647"),
    ({"max_seq_len": 64.0}, TypeError, "max_seq_len is 64.0"), ({"notice": 3}, TypeError, "notice is 3"),
    ({"exclude": 3}, TypeError, "a pattern of exclude is 3"), ({"method_rows": "32"}, TypeError, "method_rows is '32'"),
    ({"output_path": 3}, TypeError, "output_path is 3"), ({"mode": "static", "scheme": "fp16"}, ValueError, "contradict"),
    ({"mode": 5}, TypeError, "mode is 5"),
])
def test_keywords_are_checked_by_name(keywords, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        quant.quantize_model(SDAR, **{"output_path": tmp_path / "m.pte", **keywords})
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="config is 3, of type int; expected a QuantizationConfig"):
        quant.BaseQuantizer().quantize(SDAR, 3, output_path=tmp_path / "m.pte")
    with pytest.raises(TypeError, match="there are backend, ") as known:
        quant.quantize_model(SDAR, zzz=1)
    names = str(known.value).split("there are ")[1].split(", ")
    assert names == sorted(set(names))


def test_schemes_in_capitals_calibrate_as_in_small_letters(tmp_path):
    paths = [quant.quantize_model(SDAR, output_path=tmp_path / f"{word}.pte", scheme=word, calibration_samples=2, calibration_length=16)
             for word in ("INT8_Static", "int8-static")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_words_of_configurations_are_checked_by_name():
    with pytest.raises(TypeError, match="INT4Config has no keyword 'groupsize'; did you mean group_size"):
        quant.INT4Config(groupsize=32)


@pytest.mark.parametrize("call, error, sentence", [
    (lambda: diffulex_edge.export_checkpoint(SDAR, None), TypeError, "output_path is None"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", mask_id=-1), ValueError, "mask_id is -1"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", block_size="8"), TypeError, "block_size is '8'"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", quantization=8), TypeError, "quantization is 8"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", validate="no"), TypeError, "validate is 'no'"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", stage=1), TypeError, "stage is 1"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", method_rows=[8, 1 << 40]), ValueError, "an entry of method_rows is"),
    (lambda: diffulex_edge.validate_export(SDAR, 3), TypeError, "file_path is 3"),
    (lambda: diffulex_edge.validate_export(SDAR, "m.pte", validation_samples="4"), TypeError, "validation_samples is '4'"),
    (lambda: diffulex_edge.validate_export(SDAR, "m.pte", block_size=1.5), TypeError, "block_size is 1.5"),
    (lambda: diffulex_edge.export_checkpoint(SDAR, "m.pte", backend=None), TypeError, "backend is None"),
    (lambda: diffulex_edge.check_backend(3), TypeError, "backend is 3"),
    (lambda: diffulex_edge.check_backend("xnnpack", soc=3), TypeError, "soc is 3"),
    (lambda: quant.get_model_size_info(None), TypeError, "model is None"),
    (lambda: quant.get_model_compression_ratio(SDAR, 3), TypeError, "model is 3"),
    (lambda: quant.apply_int4_quantization(SDAR, 32, "no"), TypeError, "fallback_to_int8 is 'no'"),
    (lambda: quant.quantize_model(SDAR, recipe=SDAR / "none.json"), FileNotFoundError, "there is no recipe '.*none.json'"),
    (lambda: diffulex_edge.quantize_report(SDAR, max_error="x"), TypeError, "max_error is 'x'"),
    (lambda: diffulex_edge.quantize_report(SDAR, max_error=float("nan")), ValueError, "max_error is nan"),
    (lambda: diffulex_edge.quantize_report(SDAR, max_bytes=-1), ValueError, "max_bytes is -1"),
    (lambda: diffulex_edge.quantize_report(SDAR, rounding=1), TypeError, "rounding is 1"),
])
def test_arguments_of_exports_are_checked_by_name(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    return quant.quantize_model(SDAR, output_path=tmp_path_factory.mktemp("int8") / "m.pte")


@pytest.mark.parametrize("inputs, error, sentence", [
    ([[1.5, 2]], TypeError, r"example_inputs\[0\]\[0\] is 1.5, of type float; expected a whole number"),
    ([[4, 5], [True, 2]], TypeError, r"example_inputs\[1\]\[0\] is True"), ([[4, "5"]], TypeError, r"\[0\]\[1\] is '5'"),
    ([4, 5], TypeError, r"example_inputs\[0\] is 4, of type int; expected a list of token ids"),
    (numpy.array([4, 5]), TypeError, r"example_inputs\[0\] is 4"), (numpy.array([[4.0, 5.0]]), TypeError, "is 4.0"),
    ([], ValueError, "example_inputs is empty"), ([["a"]], TypeError, "is 'a'"), ({"ids": [4]}, TypeError, "of type dict"),
    ([[4, 5], [4, 99999]], ValueError, r'^example_inputs\[1\]: entry 2 of its "ids" is 99999; expected token ids'),
    ([[4, -5]], ValueError, r"example_inputs\[0\]\[1\] is -5; expected 0 to"),
    ([[4], []], ValueError, r"^example_inputs\[1\]: there is nothing in it that could be masked"),
])
def test_example_inputs_are_checked_by_name(int8, inputs, error, sentence):
    with pytest.raises(error, match=sentence):
        quant.verify_quantization_accuracy(SDAR, int8, inputs)


@pytest.mark.parametrize("tolerance, error, sentence", [
    (float("nan"), ValueError, "tolerance is nan; expected a number from 0 on"), (-0.1, ValueError, "tolerance is -0.1"),
    ("0.1", TypeError, "tolerance is '0.1'"), (None, TypeError, "tolerance is None"), (True, TypeError, "tolerance is True"),
])
def test_tolerances_are_checked(int8, tolerance, error, sentence):
    with pytest.raises(error, match=sentence):
        quant.verify_quantization_accuracy(SDAR, int8, [[4, 5, 6]], tolerance)


def test_example_inputs_of_arrays_and_tensors(int8):
    torch = oracle("torch", "tensors are taken as samples, which are")
    rows = [[4, 5, 6, 7, 8, 9, 10, 11], [20, 21, 22, 23, 24, 25, 26, 27]]
    for inputs in (rows, tuple(map(tuple, rows)), numpy.array(rows), torch.tensor(rows), [torch.tensor(row) for row in rows],
                   [numpy.array(row, dtype=numpy.uint16) for row in rows]):
        assert quant.verify_quantization_accuracy(SDAR, int8, inputs, numpy.float32(5))
        assert not quant.verify_quantization_accuracy(SDAR, int8, inputs, 0)


@pytest.mark.parametrize("call, kind", [
    (lambda out: quant.quantize_model(SDAR, output_path=out), "f32-qc8w"),
    (lambda out: quant.quantize_model(SDAR, "int8", "dynamic", output_path=out), "qd8-qc8w"),
    (lambda out: quant.quantize_model(SDAR, QuantizationDtype.FP16, output_path=out), "f32-f16w"),
    (lambda out: quant.quantize_model(SDAR, "int4", output_path=out), "qd8-qb4w"),
    (lambda out: quant.quantize_model(SDAR, "int4", group_size=0, output_path=out), "qd8-qc4w"),
    (lambda out: quant.quantize_model(SDAR, scheme="int8-dynamic", output_path=out), "qd8-qc8w"),
    (lambda out: quant.convert_to_int8(SDAR, preserve_activation_precision_layers=(), output_path=out), "qd8-qc8w"),
    (lambda out: quant.INT4Quantizer().quantize(SDAR, quant.INT4Config(0), group_size=64, output_path=out).model, "qd8-qb4w"),
    (lambda out: quant.quantize_to_fp16(SDAR, output_path=out), "f32-f16w"),
    (lambda out: quant.quantize_to_int8(SDAR, output_path=out), "f32-qc8w"),
    (lambda out: quant.convert_to_int8(SDAR, output_path=out), "qd8-qc8w"),
    (lambda out: quant.convert_to_fp16(SDAR, output_path=out), "f32-f16w"),
    (lambda out: quant.WeightOnlyQuantizer().quantize(SDAR, QuantizationConfig(), output_path=out).model, "f32-qc8w"),
    (lambda out: quant.INT8Quantizer().quantize(SDAR, QuantizationConfig(mode="static", calibration_samples=4),
                                                output_path=out, max_seq_len=64).model, "qs8-qc8w"),
    (lambda out: quant.INT4Quantizer().quantize(SDAR, quant.INT4Config(64), output_path=out).model, "qd8-qb4w"),
    (lambda out: quant.apply_int4_quantization(SDAR, 0, output_path=out), "qd8-qc4w"),
    (lambda out: quant.INT4Quantizer().quantize(SDAR, QuantizationConfig(rounding="mse"), output_path=out).model, "qd8-qb4w"),
    (lambda out: quant.INT4Quantizer().quantize(SDAR, QuantizationConfig(rounding="awq_gptq", calibration_samples=2),
                                                output_path=out, max_seq_len=64).model, "qd8-qb4w"),
])
def test_what_each_call_writes(call, kind, tmp_path):
    path = call(tmp_path / "m.pte")
    assert path == tmp_path / "m.pte"
    assert kinds(path) == {kind: 14, "f32-f32w": 1}     # the head stays float32


def test_float32_is_no_quantisation_but_a_file(tmp_path):
    assert kinds(quant.quantize_model(SDAR, "fp32", output_path=tmp_path / "m.pte")) == {"f32-f32w": 15}


def keyword_values(tmp_path):
    """For each keyword of export_checkpoint a value, and the settings of the export with which it has an effect."""
    lines, ranges, template = tmp_path / "lines.jsonl", tmp_path / "ranges.json", tmp_path / "template.jinja"
    recipe = tmp_path / "recipe.json"
    lines.write_text('{"text": "It was a bright cold day in April, and the clocks were striking thirteen."}\n')
    template.write_text("say {{ messages[0].content }}")
    recipe.write_text('{"default": "int4-g64"}')
    static = {"quantization": "int8-static", "calibration_samples": 2, "calibration_length": 16}
    gptq = {"rounding": "gptq", "calibration_samples": 2, "calibration_length": 16}
    coreml = {"backend": "coreml"}
    diffulex_edge.export_checkpoint(SDAR, tmp_path / "static.pte", save_ranges=ranges, **static)
    return {
        "backend": ("xnnpack", {}), "quantization": ("int4-g32", {}), "model_type": ("sdar", {}), "max_seq_len": (64, {}),
        "max_rows": (32, {}), "block_size": (8, {}), "mask_id": (3, {}), "chat_template": (template, {}),
        "quantization_config": (recipe, {}), "exclude": (["layers.0.down"], {}), "rounding": ("mse", {}),
        "calibration": (lines, gptq), "calibration_samples": (3, gptq), "calibration_length": (8, gptq),
        "calibration_seed": (5, gptq), "work_folder": (tmp_path / "work", gptq), "kv": ("state", {}),
        "observer": ("minmax", static), "ranges": (ranges, {"quantization": "int8-static"}),
        "save_ranges": (tmp_path / "kept.json", static), "method_rows": ([8], {}), "validate": (True, {}),
        "validation": (lines, {"validate": True}), "validation_samples": (3, {"validate": True}),
        "validation_length": (16, {"validate": True}), "progress": (lambda done, total: True, {}),
        "delegate_layers": (1, coreml), "minimum_deployment_target": ("iOS16", coreml), "compute_units": ("all", coreml),
        "emit": ("pte", coreml),
        "stage": (lambda name, done, total: True, gptq), "notice": (lambda sentence: None, {}),
    }


def test_every_keyword_of_an_export_reaches_it(tmp_path):
    """quantize_model writes the file that export_checkpoint writes with the same keyword, the head being float32."""
    values = keyword_values(tmp_path)
    keywords = {name for name, parameter in inspect.signature(diffulex_edge.export_checkpoint).parameters.items()
                if parameter.kind is parameter.KEYWORD_ONLY}
    assert set(values) == keywords - {"soc", "qnn_lib_dir"}     # tests/py/test_py_backends.py
    mine, theirs = tmp_path / "mine.pte", tmp_path / "theirs.pte"
    for keyword, (value, others) in values.items():
        given = {**others, keyword: value}
        wanted = {"quantization": "int8-weight-only", "max_seq_len": 128, **given}
        wanted["exclude"] = ["lm_head", *given.get("exclude", ())]
        if keyword == "quantization_config":
            del wanted["quantization"]
        diffulex_edge.export_checkpoint(SDAR, theirs, **wanted)
        if keyword == "save_ranges":
            kept = value.read_bytes()
            value.unlink()
        assert quant.quantize_model(SDAR, "int8", output_path=mine, **{"max_seq_len": 128, **given}) == mine
        assert mine.read_bytes() == theirs.read_bytes(), keyword
        assert keyword != "save_ranges" or value.read_bytes() == kept


def test_keywords_count_more_than_the_configuration(tmp_path):
    plain, out = tmp_path / "plain.pte", tmp_path / "m.pte"
    config = QuantizationConfig("int4", rounding="gptq", calibration_samples=4)
    quant.BaseQuantizer().quantize(SDAR, dataclasses.replace(config, rounding="mse"), output_path=plain)
    quant.BaseQuantizer().quantize(SDAR, config, output_path=out, rounding="mse")
    assert out.read_bytes() == plain.read_bytes() and config.rounding == "gptq"


def test_a_notice_is_kept_and_passed_on(tmp_path):
    heard = []
    result = quant.INT8Quantizer().quantize(SDAR, output_path=tmp_path / "m.pte", max_rows=2, notice=heard.append)
    assert len(heard) == 1 and "block" in heard[0] and result.warnings == heard


def test_a_recipe_with_a_mark_and_from_a_pipe(tmp_path):
    recipe, out, plain = tmp_path / "recipe.json", tmp_path / "m.pte", tmp_path / "plain.pte"
    text = b'{"default": "int4-g64",\r\n "head": "int8-dynamic"}\r\n'
    recipe.write_bytes(text)
    config = QuantizationConfig(exclude_layers=(), recipe=recipe)
    quant.BaseQuantizer().quantize(SDAR, config, output_path=plain)
    recipe.write_bytes(b"\xef\xbb\xbf" + text)
    quant.BaseQuantizer().quantize(SDAR, config, output_path=out)
    assert out.read_bytes() == plain.read_bytes()
    reader, writer = os.pipe()
    os.write(writer, b"\xef\xbb\xbf" + text)
    os.close(writer)
    quant.BaseQuantizer().quantize(SDAR, dataclasses.replace(config, recipe=f"/dev/fd/{reader}"), output_path=out)
    os.close(reader)
    assert out.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_and_metrics_are_those_of_the_weights(family, tmp_path):
    folder = CHECKPOINTS / f"{family}-tiny"
    plain = quant.BaseQuantizer().quantize(folder, QuantizationConfig("fp32"), output_path=tmp_path / "plain.pte")
    assert plain.metrics["compression_ratio"] == 1.0 and plain.metrics["converted_layers"] == 0
    assert plain.metrics["original_memory_mb"] * 2**20 == 4 * plain.metrics["num_parameters"]
    total = plain.metrics["original_memory_mb"]
    assert quant.get_model_size_info(folder) == quant.get_model_size_info(plain) == (total, 0.0, total)

    config = QuantizationConfig(exclude_layers=())
    result = quant.INT8Quantizer().quantize(folder, config, output_path=tmp_path / "m.pte")
    linear = sum(kinds(result.model).values())
    metrics = result.metrics
    assert result.success and not result.fallback_used and not result.warnings
    assert (metrics["converted_linear_layers"], metrics["converted_embedding_layers"]) == (linear, 1)
    assert metrics["converted_layers"] == linear + 1 and metrics["quantization_time_sec"] > 0
    parameters, buffers, both = quant.get_model_size_info(result)
    assert parameters + buffers == pytest.approx(both) and both == metrics["quantized_memory_mb"]
    assert 0 < parameters < 0.02 * both
    assert metrics["compression_ratio"] == quant.get_model_compression_ratio(folder, result) > 3.5
    assert metrics["memory_reduction_mb"] == pytest.approx(total - both)
    assert metrics["memory_reduction_pct"] == pytest.approx(100 * (1 - both / total))


@pytest.mark.parametrize("family", FAMILIES)
def test_exclusions_are_parts_of_the_originals_names(family, tmp_path):
    folder, out = CHECKPOINTS / f"{family}-tiny", tmp_path / "m.pte"
    layers = json.loads((folder / "config.json").read_text())
    layers = layers.get("num_hidden_layers", layers.get("n_layers"))

    def floats(**settings):
        result = quant.INT8Quantizer().quantize(folder, QuantizationConfig(**settings), output_path=out)
        return kinds(out).get("f32-f32w", 0), result.metrics["converted_embedding_layers"]

    assert floats() == (1, 1)
    assert floats(exclude_layers=()) == (0, 1)
    assert floats(exclude_layers=("MLP.down",)) == (layers, 1)
    assert floats(exclude_layers=("layers.0.",)) == (7, 1)
    assert floats(exclude_layers=("embed_tokens", "lm_head", "self_attn")) == (1 + 4 * layers, 0)
    assert floats(exclude_layers=(), preserve_precision_layers=("embedding",)) == (0, 0)
    assert floats(preserve_precision_layers=("linear",)) == (7 * layers + 1, 1)


def test_layers_with_float_activations(tmp_path):
    out = tmp_path / "m.pte"
    quant.INT8Quantizer().quantize(SDAR, QuantizationConfig(exclude_layers=()), output_path=out)
    assert kinds(out) == {"qd8-qc8w": 14, "f32-qc8w": 1}
    config = QuantizationConfig(exclude_layers=(), preserve_activation_precision_layers=("down_proj",))
    quant.INT8Quantizer().quantize(SDAR, config, output_path=out)
    assert kinds(out) == {"qd8-qc8w": 13, "f32-qc8w": 2}
    with pytest.raises(ValueError, match="down_proj"):
        quant.INT4Quantizer().quantize(SDAR, config, output_path=out)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"default": "int4-g64", "head": "int8-dynamic"}')
    with pytest.raises(ValueError, match="recipe"):
        quant.BaseQuantizer().quantize(SDAR, dataclasses.replace(config, recipe=recipe), output_path=out)
    result = quant.BaseQuantizer().quantize(SDAR, QuantizationConfig(exclude_layers=(), recipe=recipe), output_path=out)
    assert kinds(out) == {"qd8-qb4w": 14, "qd8-qc8w": 1}
    assert result.metrics["quantization"].startswith("int4-g64")


def test_groups_that_do_not_fit(tmp_path):
    folder, out = CHECKPOINTS / "dream-tiny", tmp_path / "m.pte"
    with pytest.raises(RuntimeError, match=r"\[112, 112\]"):
        quant.INT4Quantizer().quantize(folder, output_path=out)
    with pytest.raises(RuntimeError, match="does not fit"):
        quant.apply_int4_quantization(folder, fallback_to_int8=False, output_path=out)
    with pytest.warns(UserWarning, match="in place of int4"):
        quant.apply_int4_quantization(folder, output_path=out)
    assert kinds(out) == {"qd8-qc8w": 21, "f32-f32w": 1}
    assert quant.INT4Quantizer().quantize(folder, output_path=out, fallback_to_int8=True).fallback_used


def test_output_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quant.quantize_model(SDAR, "fp16") == Path("sdar-tiny-fp16.pte")
    assert (tmp_path / "sdar-tiny-fp16.pte").is_file()


def test_accuracy_is_that_of_validation(tmp_path):
    result = quant.INT8Quantizer().quantize(SDAR, output_path=tmp_path / "m.pte")
    ids = [[(7 * i + k) % 1000 for i in range(40)] for k in range(3)]
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps({"ids": row}) + "\n" for row in ids))
    found = diffulex_edge.validate_export(SDAR, result.model, samples=samples).kl_mean
    assert found > 0
    for inputs in (samples, ids):
        assert quant.verify_quantization_accuracy(SDAR, result, inputs, found) is True
        assert quant.verify_quantization_accuracy(SDAR, result.model, inputs, 0.99 * found) is False


def test_notices_go_to_whoever_asks(tmp_path, recwarn):
    heard = []
    diffulex_edge.export_checkpoint(SDAR, tmp_path / "m.pte", notice=heard.append)
    assert heard == [] and not recwarn.list


@pytest.mark.skipif(not os.environ.get("DIFFULEX_CHECKOUT"), reason="needs a checkout of the original system")
@pytest.mark.parametrize("settings", [{}, {"exclude_layers": ()}, {"exclude_layers": ("MLP.down", "embed_tokens")},
                                      {"preserve_precision_layers": ("linear",)}])
def test_the_original_converts_the_same_layers(settings, tmp_path):
    oracle("torch", "the original system is")
    import subprocess
    program = (
        "import json, sys, torch.nn as nn\n"
        "from diffulex_edge.quant import QuantizationConfig, WeightOnlyQuantizer\n"
        "block = lambda: nn.ModuleDict({'self_attn': nn.ModuleDict({n + '_proj': nn.Linear(8, 8) for n in 'qkvo'}),\n"
        "    'mlp': nn.ModuleDict({n + '_proj': nn.Linear(8, 8) for n in ('gate', 'up', 'down')}),\n"
        "    'input_layernorm': nn.LayerNorm(8)})\n"
        "model = nn.ModuleDict({'embed_tokens': nn.Embedding(16, 8), 'layers': nn.ModuleList([block(), block()]),\n"
        "    'norm': nn.LayerNorm(8), 'lm_head': nn.Linear(8, 16)})\n"
        "settings = {k: tuple(v) for k, v in json.loads(sys.argv[1]).items()}\n"
        "metrics = WeightOnlyQuantizer().quantize(model, QuantizationConfig(**settings)).metrics\n"
        "print(metrics['converted_linear_layers'], metrics['converted_embedding_layers'])\n")
    done = subprocess.run([sys.executable, "-c", program, json.dumps(settings)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.environ["DIFFULEX_CHECKOUT"]})
    assert done.returncode == 0, done.stderr
    metrics = quant.WeightOnlyQuantizer().quantize(SDAR, QuantizationConfig(**settings), output_path=tmp_path / "m.pte").metrics
    assert done.stdout.split() == [str(metrics["converted_linear_layers"]), str(metrics["converted_embedding_layers"])]
