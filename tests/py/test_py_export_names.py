"""The original system's names for exporting: configurations, backends, quantisation, containers of the cache."""

import json
from pathlib import Path

import pytest
from exported_files import DATA, MODELS
from oracles import oracle

import diffulex_edge


def test_export_config_round_trip():
    from diffulex_edge.export import BackendType, ExportConfig, QuantizationType

    config = ExportConfig()
    assert config.output_path == Path("model.pte") and config.backend is BackendType.REFERENCE
    assert (config.num_kv_heads, config.head_dim, config.intermediate_size) == (8, 64, 2048)
    config = ExportConfig(
        output_path=Path("a.pte"), backend=BackendType.XNNPACK, quantization=QuantizationType.DYNAMIC_INT8
    )
    assert ExportConfig.from_json(config.to_json()) == config
    assert config.get_model_config()["hidden_size"] == 512


def test_exporter_writes_checkpoints(tmp_path):
    from diffulex_edge.export import DiffuLexExporter, ExportConfig, export_model

    checkpoint = DATA / "checkpoints" / "sdar-tiny"
    result = export_model(
        checkpoint, output_path=tmp_path / "sub" / "a.pte", quantization="dynamic_int8", max_seq_len=64
    )
    assert result.success and result.file_size_mb > 0 and result.output_path.is_file()
    metadata = diffulex_edge.inspect(result.output_path)["metadata"]
    assert metadata["get_quantization"] == ["int8-dynamic"] and metadata["get_max_context_len"] == [64]
    result = DiffuLexExporter(
        ExportConfig(backend="xnnpack", checkpoint_path=checkpoint, output_path=tmp_path / "b.pte")
    ).export()
    assert result.success, result.error_message
    result = export_model(checkpoint, output_path=tmp_path / "c.pte", quantization="static_int8")
    assert result.success, result.error_message
    assert diffulex_edge.inspect(result.output_path)["metadata"]["get_quantization"] == ["int8-static"]
    (tmp_path / "empty.jsonl").write_text("")
    result = export_model(checkpoint, output_path=tmp_path / "d.pte", quantization="static_int8",
                          calibration_data_path=tmp_path / "empty.jsonl")
    assert not result.success and "empty.jsonl" in result.error_message and not (tmp_path / "d.pte").exists()
    with pytest.raises(RuntimeError, match="Backend 'reference' not found"):
        DiffuLexExporter(ExportConfig()).export(checkpoint)
    assert DiffuLexExporter(ExportConfig(backend="xnnpack")).get_backend_info()["available"] is True


def test_backends():
    from diffulex_edge.backends import BackendConfig, BackendRegistry

    assert {"xnnpack", "qnn", "coreml"} <= set(BackendRegistry.list_backends()) and BackendRegistry.create(
        "none"
    ) is None
    result = BackendRegistry.create("xnnpack", BackendConfig(max_seq_len=32)).export(
        DATA / "checkpoints" / "llada-tiny"
    )
    assert result.success and result.metadata["buffer_size_bytes"] == len(result.buffer)


def test_quantisation_settings():
    import diffulex_edge
    from diffulex_edge.quant import QuantizationConfig, QuantizationDtype, QuantizationMode

    config = QuantizationConfig()
    assert config.mode is QuantizationMode.DYNAMIC and config.quantization == "int8-dynamic"
    assert (
        QuantizationConfig(mode=QuantizationMode.QAT).is_qat and QuantizationConfig(dtype="fp32").quantization == "none"
    )
    assert QuantizationConfig(dtype=QuantizationDtype.INT4).quantization == "int4-g32"
    assert QuantizationConfig(dtype=QuantizationDtype.FP16).quantization == "fp16"
    assert QuantizationConfig(mode=QuantizationMode.WEIGHT_ONLY).quantization == "int8-weight-only"
    names = {name for scheme in diffulex_edge.export_schemes() for name in (scheme.name, *scheme.aliases)}
    assert {"int4-g32", "fp16", "int8-weight-only"} <= names
    assert QuantizationConfig(mode=QuantizationMode.STATIC).quantization == "int8-static"
    with pytest.raises(ValueError):
        QuantizationConfig(dtype="int4", mode=QuantizationMode.STATIC).quantization


@pytest.mark.parametrize("kind", ("numpy", "torch"))
def test_kv_cache_container(kind):
    module = oracle(kind, "its arrays are")
    from diffulex_edge.model import KVCache, KVCacheConfig, create_kv_caches

    config = KVCacheConfig(2, 3, 4, 8, dtype=module.float32)
    cache = create_kv_caches(config, batch_size=1)
    assert tuple(cache.cache.shape) == (2, 2, 1, 3, 8, 4)
    ones = module.ones((1, 3, 5, 4))
    cache.update_layer_cache(1, ones, 2 * ones, start_pos=2)
    k, v = cache.get_layer_cache(1)
    assert (
        cache.current_seq_len == 7 and float(k.sum()) == 60 and float(v.sum()) == 120 and float(k[:, :, :2].sum()) == 0
    )
    with pytest.raises(ValueError):
        cache.update_layer_cache(0, ones, ones, start_pos=4)
    again = KVCache.from_tensor(cache.get_cache_tensor(), config, current_seq_len=7)
    again.clear()
    assert again.current_seq_len == 0 and float(cache.cache.sum()) == 0


def test_model_types_of_configs():
    from diffulex_edge.model import detect_model_type

    for name in MODELS:
        config = json.loads((DATA / "checkpoints" / f"{name}-tiny" / "config.json").read_text())
        assert detect_model_type(config) == name
    with pytest.raises(ValueError, match="LlamaForCausalLM"):
        detect_model_type({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
