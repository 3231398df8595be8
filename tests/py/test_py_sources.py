"""Opening from descriptors and from memory: the same as from a path, and nothing of the source is needed afterwards."""
import io
import mmap
import os
import shutil

import numpy
import pytest
from exported_files import exported  # noqa: F401 - a fixture
from foreign_io import FOLDER, calls

import diffulex_edge
from diffulex_edge import Method, Model, Tokenizer

PROMPT = [5, 6, 7]
SHORT = dict(max_new_tokens=12, stop_ids=[])


def answers(model):
    """What it decodes, and what its tokenizer says."""
    with model:
        return model.generate(PROMPT, **SHORT).ids, model.tokenizer().encode("count to three"), model.facts


@pytest.mark.parametrize("name", ["sdar-tiny", "llada-tiny"])
def test_models(exported, name):
    path = exported(name)
    want = answers(Model(path))
    data = path.read_bytes()
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 100, os.SEEK_SET)
    model = Model.from_fd(fd)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 100, "its position was moved"
    os.close(fd)
    assert "file descriptor" in repr(model)
    assert answers(model) == want

    changing = bytearray(data)
    model = Model.from_bytes(changing)
    changing[:] = bytes(len(changing))     # and is not needed any more
    assert answers(model) == want
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for source in (data, memoryview(data), mapped, numpy.frombuffer(data, numpy.uint8)):
            assert answers(Model.from_bytes(source)) == want


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create")
def test_anonymous_files(exported):
    fd = os.memfd_create("model")
    os.write(fd, exported("sdar-tiny").read_bytes())
    try:
        assert answers(Model.from_fd(fd)) == answers(Model(exported("sdar-tiny")))
    finally:
        os.close(fd)


def test_methods():
    path = FOLDER / "mlp_dynamic.pte"
    inputs, _ = calls("mlp_dynamic")[0]
    with Method(path) as method:
        want = method(*inputs)
    with open(path, "rb") as file:
        opened = [Method.from_fd(file.fileno()), Method.from_bytes(path.read_bytes()),
                  Method.from_bytes(bytearray(path.read_bytes()), "forward", threads=1)]
    for method in opened:
        assert numpy.array_equal(method(*inputs), want) and method.inputs
        method.close()
        assert "closed" in repr(method)


def test_programs_without_a_tokenizer():
    path = FOLDER / "decoder_cache_dynamic.pte"
    for model in (Model.from_bytes(path.read_bytes()), Model(path)):
        with model, pytest.raises(diffulex_edge.UnsupportedError, match="carries no tokenizer"):
            model.tokenizer()


def test_tokenizers(exported):
    path = exported("sdar-tiny")
    want = Tokenizer.from_pte(path).encode("count to three")
    with open(path, "rb") as file:
        assert Tokenizer.from_pte_fd(file.fileno()).encode("count to three") == want
    assert Tokenizer.from_pte_bytes(path.read_bytes()).encode("count to three") == want


def test_what_is_no_program(tmp_path, exported):
    data = exported("sdar-tiny").read_bytes()
    for bad in (b"", b"ET12", data[:5000], bytes(1000)):
        for opens in (Model.from_bytes, Method.from_bytes, Tokenizer.from_pte_bytes):
            with pytest.raises(diffulex_edge.FormatError, match=f"memory of {len(bad)} bytes"):
                opens(bad)
    for fd, kind, words in ((-1, ValueError, "descriptor"), (12345, OSError, "file descriptor 12345.*Bad file descriptor")):
        for opens in (Model.from_fd, Method.from_fd, Tokenizer.from_pte_fd):
            with pytest.raises(kind, match=words):
                opens(fd)
    reading, writing = os.pipe()
    with pytest.raises(OSError, match=f"file descriptor {reading}"):
        Model.from_fd(reading)
    os.close(reading)
    os.close(writing)
    with pytest.raises(TypeError):
        Model.from_bytes("text")
    for opens in (Model.from_fd, Method.from_fd, Tokenizer.from_pte_fd):
        for wrong in ("3", 3.0, None, io.BytesIO(data)):
            with pytest.raises(TypeError, match="is no open descriptor and no open file"):
                opens(wrong)


def test_open_files(exported):
    path = exported("sdar-tiny")
    with open(path, "rb") as file:
        assert answers(Model.from_fd(file)) == answers(Model(path))
        assert len(Tokenizer.from_pte_fd(file)) == len(Tokenizer.from_pte(path))
    with open(FOLDER / "mlp_dynamic.pte", "rb") as file:
        assert Method.from_fd(file).inputs


@pytest.mark.parametrize("then", ["removed", "replaced", "overwritten", "elsewhere"])
def test_a_model_keeps_its_tokenizer(exported, tmp_path, monkeypatch, then):
    monkeypatch.chdir(tmp_path)
    shutil.copy(exported("sdar-tiny"), "model.pte")
    want = answers(Model("model.pte"))
    model = Model("model.pte")
    if then == "removed":
        os.unlink("model.pte")
    elif then == "replaced":
        shutil.copy(exported("llada-tiny"), "other.pte")
        os.replace("other.pte", "model.pte")
    elif then == "overwritten":
        with open("model.pte", "r+b") as file:
            file.write(b"x" * 100)
    else:
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
    assert answers(model) == want
    with pytest.raises(ValueError, match="closed"):
        model.tokenizer()
