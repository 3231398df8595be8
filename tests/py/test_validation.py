"""Files against their checkpoints: what an export with a validation checks before it replaces a file, what is said of files
of other checkpoints, and the keywords of Python."""
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from program import CLI, ROOT, fail, run_json, start

import diffulex_edge

CHECKPOINTS = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
LLADA = CHECKPOINTS / "llada-tiny"
DIALOG = ROOT / "demo" / "dialog-sdar"
WRONG = [
    ({"validation": '{"ids": [1, 99999]}\n'}, "line 1: entry 2 of its \"ids\" is 99999"),
    ({"validation": "no JSON\n"}, "line 1"),
    ({"validation": "\n"}, "has no line to read"),
    ({"validation": None}, "lines.jsonl"),
    ({"validation_length": 5000}, "expected 2 to the 128 rows of a call"),
    ({"kv": "fixed"}, "no session of this library runs it"),
    ({"backend": "coreml"}, "no session of this library runs it"),
]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"prompt": "Say something", "answer": "The quick brown fox"}\n')
    return path


def given(settings, lines):
    """Keywords; the text of the validation lies in the file."""
    keywords = dict(settings)
    if "validation" in keywords:
        lines.unlink()
        if keywords["validation"] is not None:
            lines.write_text(keywords["validation"])
        keywords["validation"] = lines
    return keywords


@pytest.mark.parametrize("settings, sentence", WRONG)
def test_the_older_file_stays(settings, sentence, lines, tmp_path):
    keywords = given(settings, lines)
    path = tmp_path / "out" / "m.pte"
    path.parent.mkdir()
    path.write_bytes(b"an older file")
    options = [word for name, value in keywords.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert sentence in fail("export", LLADA, path, "--validate", *options)
    with pytest.raises((ValueError, RuntimeError, OSError), match="."):
        diffulex_edge.export_checkpoint(LLADA, path, validate=True, **keywords)
    assert path.read_bytes() == b"an older file" and list(path.parent.iterdir()) == [path]


def test_an_export_that_validates_in_python(lines, tmp_path):
    path = tmp_path / "m.pte"
    stages = []
    keywords = {"validation": lines, "validation_samples": 4, "validation_length": 24}
    done = diffulex_edge.export_checkpoint(LLADA, path, quantization="int4", validate=True, **keywords,
                                           stage=lambda *stage: stages.append(stage))
    assert done.validation == diffulex_edge.validate_export(LLADA, path, validation_seed=1, **keywords)
    assert done.validation.samples == 4 and done.validation.kl_mean > 0 and done.file_bytes == path.stat().st_size
    assert {name for name, _, _ in stages} == {"validating"}
    assert run_json("export", LLADA, path, "--validate-only", "--validation", lines, "--validation-samples", 4,
                    "--validation-length", 24)["validation"]["kl_mean"] == pytest.approx(done.validation.kl_mean, rel=1e-5)
    assert diffulex_edge.export_checkpoint(LLADA, path).validation is None
    with pytest.raises(ValueError, match="validate=True"):
        diffulex_edge.export_checkpoint(LLADA, path, validation=lines)


def test_calibration_that_is_validated_with_has_a_use(lines, tmp_path):
    heard = []
    recipe, path = tmp_path / "recipe.json", tmp_path / "m.pte"
    recipe.write_text('{"default": "fp16"}')
    keywords = {"quantization_config": recipe, "rounding": "gptq", "calibration": lines, "notice": heard.append}
    diffulex_edge.export_checkpoint(LLADA, path, **keywords)
    assert any("calibration was asked for" in sentence for sentence in heard), heard
    heard.clear()
    assert diffulex_edge.export_checkpoint(LLADA, path, validate=True, **keywords).validation.samples == 20
    assert heard and not any("calibration was asked for" in sentence for sentence in heard), heard


def test_a_validation_that_ends_early_leaves_the_file(lines, tmp_path):
    path = tmp_path / "m.pte"
    path.write_bytes(b"an older file")
    with pytest.raises(diffulex_edge.Cancelled, match="is complete and can be used, but it was not validated"):
        diffulex_edge.export_checkpoint(LLADA, path, validate=True, validation=lines, stage=lambda *_: False)
    assert diffulex_edge.inspect(path)["metadata"]["get_model_family"] == ["llada"]


def test_older_names_of_keywords(lines, tmp_path):
    path = tmp_path / "m.pte"
    diffulex_edge.export_checkpoint(LLADA, path)
    new = {"validation": lines, "validation_samples": 3, "validation_length": 16, "validation_seed": 7}
    old = {"samples": lines, "count": 3, "length": 16, "seed": 7}
    assert diffulex_edge.validate_export(LLADA, path, **new) == diffulex_edge.validate_export(LLADA, path, **old)
    for (name, value), (older, same) in zip(new.items(), old.items()):
        with pytest.raises(ValueError, match=f"^{older} is the older name of {name};"):
            diffulex_edge.validate_export(LLADA, path, **{name: value, older: same})
    new = {"calibration": lines, "calibration_samples": 3, "calibration_length": 16, "calibration_seed": 7}
    old = {"calibration": lines, "count": 3, "length": 16, "seed": 7}
    report = diffulex_edge.quantize_report(LLADA, **new)
    assert report == diffulex_edge.quantize_report(LLADA, **old) != diffulex_edge.quantize_report(LLADA, **{**new, "calibration_seed": 8})
    with pytest.raises(ValueError, match="^count is the older name of calibration_samples;"):
        diffulex_edge.quantize_report(LLADA, calibration_samples=3, count=3)


def test_what_an_export_was_told(tmp_path):
    path, sdar = tmp_path / "m.pte", CHECKPOINTS / "sdar-tiny"
    told = dict(block_size=8, mask_id=1225, model_type="sdar")
    diffulex_edge.export_checkpoint(sdar, path, **told)
    words = [word for name, value in told.items() for word in (f"--{name.replace('_', '-')}", value)]
    both = "the file has mask id 1225, attention block 8, block length 8; the checkpoint has mask id 1226, attention block 4"
    few = ("--validation-samples", 2, "--validation-length", 16)
    assert both in fail("export", sdar, path, "--validate-only", *few)
    assert run_json("export", sdar, path, "--validate-only", *few, *words)["validation"]["samples"] == 2
    with pytest.raises(ValueError, match=both):
        diffulex_edge.validate_export(sdar, path, validation_samples=2)
    assert diffulex_edge.validate_export(sdar, path, validation_samples=2, validation_length=16, **told).samples == 2


def test_files_of_other_checkpoints(tmp_path):
    path = tmp_path / "m.pte"
    diffulex_edge.export_checkpoint(LLADA, path, quantization="int4")
    for family, fact in (("sdar", "family sdar, layers 2"), ("dream", "family dream, hidden size 112")):
        message = fail("export", CHECKPOINTS / f"{family}-tiny", path, "--validate-only")
        assert "was made of another checkpoint" in message and "the file has family llada, " in message
        assert f"the checkpoint has {fact}" in message
        with pytest.raises(ValueError, match="was made of another checkpoint"):
            diffulex_edge.validate_export(CHECKPOINTS / f"{family}-tiny", path)


def test_what_is_wrong_with_the_checkpoint_is_told_of_it(tmp_path):
    path, folder = tmp_path / "m.pte", tmp_path / "checkpoint"
    diffulex_edge.export_checkpoint(LLADA, path)
    shutil.copytree(LLADA, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "alibi": True}))
    assert "alibi" in fail("export", folder, path, "--validate-only")


def test_ctrl_c_while_it_validates(lines, tmp_path):
    """The file is in place by then: it is described, and the sentence says so."""
    path = tmp_path / "m.pte"
    with subprocess.Popen([CLI, "export", LLADA, path, "--validate", "--validation", lines, "--validation-samples", "4000"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not path.exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        text, message = process.communicate(timeout=60)
    assert process.returncode == 130 and f"\n{path}: " in text and "KL" not in text
    assert f"'{path}' is complete and can be used, but it was not validated: the validation was cancelled" in message
    assert diffulex_edge.inspect(path)["metadata"]["get_model_family"] == ["llada"]


def test_answers_worse_than_none_are_of_another_checkpoint(tmp_path):
    """Sizes and layers are the same; the head is another's."""
    checkpoint, path = tmp_path / "checkpoint", tmp_path / "m.pte"
    shutil.copytree(DIALOG, checkpoint, ignore=shutil.ignore_patterns("eval"))
    diffulex_edge.export_checkpoint(DIALOG, path, quantization="int8-dynamic")
    command = ("--validate-only", "--validation", DIALOG / "eval" / "heldout.jsonl")
    assert start("export", checkpoint, path, *command).returncode == 0
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(weights[:8], "little")
    head = json.loads(weights[8:header])["lm_head.weight"]
    begin, end = (header + at for at in head["data_offsets"])
    row = (end - begin) // head["shape"][0]
    weights[begin:end] = weights[begin + 7 * row:end] + weights[begin:begin + 7 * row]
    (checkpoint / "model.safetensors").write_bytes(weights)
    message = fail("export", checkpoint, path, *command)
    assert "was made of another checkpoint" in message and "the answers are not; their mean KL divergence is" in message
