"""What an export is told about quantisation that cannot be meant: ranges of another checkpoint, a static head, lists that
come in pieces, names that are nearly right; and recipes and data that Python hands over as they are."""
import json
import shutil

import pytest

import diffulex_edge
from program import DATA, fail, run, start

CHECKPOINTS = DATA / "checkpoints"
FEW = ("--calibration-samples", 4, "--calibration-length", 32)
STATIC = ("--quantization", "int8-static")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Ranges of llada-tiny, and the program that was exported with them."""
    folder = tmp_path_factory.mktemp("ranges")
    run("export", CHECKPOINTS / "llada-tiny", folder / "m.pte", *STATIC, *FEW, "--rounding", "nearest",
        "--save-ranges", folder / "ranges.json")
    return folder


def trained_more(tmp_path):
    """llada-tiny with other numbers at the end of its first tensor's beginning."""
    folder = tmp_path / "trained"
    shutil.copytree(CHECKPOINTS / "llada-tiny", folder)
    bytes_ = bytearray((folder / "model.safetensors").read_bytes())
    header = int.from_bytes(bytes_[:8], "little")
    tensors = json.loads(bytes_[8:8 + header])
    begin = 8 + header + tensors["model.transformer.blocks.1.ff_out.weight"]["data_offsets"][0]
    bytes_[begin] ^= 1
    (folder / "model.safetensors").write_bytes(bytes_)
    return folder


def test_ranges_are_of_one_checkpoint(measured, tmp_path):
    path, ranges = tmp_path / "m.pte", measured / "ranges.json"
    for folder, words in ((CHECKPOINTS / "dream-tiny", "its family is llada, that of '"),
                          (trained_more(tmp_path), "its weights is ")):
        said = fail("export", folder, path, *STATIC, "--ranges", ranges)
        assert f"'{ranges}' has ranges of another checkpoint: {words}" in said and str(folder) in said, said
    known = json.loads(ranges.read_text())
    assert known["checkpoint"]["family"] == "llada" and known["checkpoint"]["layers"] == 3
    for key, value, words in (("hidden", 4096, "its hidden is 4096, that of '"), ("layers", None, "says no \"layers\""),
                              ("weights", 7, "says no \"weights\"")):
        changed = tmp_path / "changed.json"
        changed.write_text(json.dumps({**known, "checkpoint": {**known["checkpoint"], key: value}}))
        assert words in fail("export", CHECKPOINTS / "llada-tiny", path, *STATIC, "--ranges", changed)
    assert not path.exists()
    done = start("export", CHECKPOINTS / "llada-tiny", path, *STATIC, "--ranges", ranges)
    assert done.returncode == 0 and "note:" not in done.stderr
    assert path.read_bytes() == (measured / "m.pte").read_bytes()


def test_ranges_of_earlier_versions_are_taken_with_a_notice(measured, tmp_path):
    known = json.loads((measured / "ranges.json").read_text())
    del known["checkpoint"]
    (tmp_path / "old.json").write_text(json.dumps(known))
    done = start("export", CHECKPOINTS / "llada-tiny", tmp_path / "m.pte", *STATIC, "--ranges", tmp_path / "old.json")
    assert done.returncode == 0 and "old.json' does not say which checkpoint its ranges were measured on" in done.stderr


@pytest.mark.parametrize("recipe", ({"head": "int8-static"}, {"tensors": [{"pattern": "*", "scheme": "int8-static"}]}))
def test_a_static_head_is_refused_before_anything_is_measured(recipe, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    done = start("export", CHECKPOINTS / "llada-tiny", tmp_path / "m.pte", "--quantization-config", tmp_path / "r.json", *STATIC, *FEW)
    assert done.returncode == 1 and "cannot be int8-static: there is no range for its input" in done.stderr
    assert "lm_head.weight" in done.stderr and "note: what was found" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json"]


def test_lists_of_several_options_add_up(tmp_path):
    export = "export", CHECKPOINTS / "sdar-tiny"
    run(*export, tmp_path / "a.pte", "--exclude", "lm_head", "--method-rows", 8, "--exclude=layers.0.q", "--method-rows", 4)
    run(*export, tmp_path / "b.pte", "--exclude", "lm_head,layers.0.q", "--method-rows", "8,4")
    assert (tmp_path / "a.pte").read_bytes() == (tmp_path / "b.pte").read_bytes()
    assert "exclude is 'lm_head,layers.0.q,'" in fail(*export, tmp_path / "c.pte", "--exclude", "lm_head", "--exclude", "layers.0.q,")


@pytest.mark.parametrize("pattern, first", (("lm-head", "lm_head"), ("q_proj", "*q_proj"), ("mlp.down_proj", "*mlp.down_proj")))
def test_nearest_names_take_forms(pattern, first, tmp_path):
    said = fail("export", CHECKPOINTS / "sdar-tiny", tmp_path / "m.pte", "--exclude", pattern)
    assert f"'{pattern}' names no weight of this model; the nearest names are {first}, " in said and "rope" not in said


def test_a_scheme_that_nobody_knows_is_told_those_of_the_backend(tmp_path):
    said = fail("export", CHECKPOINTS / "sdar-tiny", tmp_path / "m.pte", "--quantization", "int5")
    assert said.strip().endswith("quantization 'int5' is not available; the backend 'xnnpack' writes: int8-dynamic, int8-static, "
                                 "int8-weight-only, int4, int4-g32, int4-g64, int4-g128, fp16, bf16, none")


def test_python_takes_recipes_and_data_as_they_are(tmp_path):
    folder, recipe = CHECKPOINTS / "sdar-tiny", {"default": "int4", "head": "fp16"}
    lines = [{"prompt": "2+2=", "answer": "4, of cöurse"}, {"ids": [5, 6, 7, 8], "answer_start": 2}]
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    few = {"rounding": "gptq", "calibration_samples": 4, "calibration_length": 32}
    diffulex_edge.export_checkpoint(folder, tmp_path / "a.pte", quantization_config=recipe, calibration=lines, **few)
    diffulex_edge.export_checkpoint(folder, tmp_path / "b.pte", quantization_config=tmp_path / "r.json",
                                    calibration=tmp_path / "c.jsonl", **few)
    assert (tmp_path / "a.pte").read_bytes() == (tmp_path / "b.pte").read_bytes()
    with pytest.raises(ValueError, match="there is no key 'embeding'"):
        diffulex_edge.export_checkpoint(folder, tmp_path / "c.pte", quantization_config={"embeding": "int4"})
    for name, value in (("quantization_config", {"head": {1}}), ("calibration", [{"text": b"x"}]), ("calibration", [7]),
                        ("quantization_config", ["int4"]), ("calibration", {"text": "x"})):
        with pytest.raises(TypeError, match=name):
            diffulex_edge.export_checkpoint(folder, tmp_path / "c.pte", **{name: value})
