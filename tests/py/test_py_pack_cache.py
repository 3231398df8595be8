"""The pack cache from Python and the command line: found by the next process, and a warning or a line where there is none."""
import warnings

import pytest
from exported_files import exported  # noqa: F401 - a fixture
from program import run_json, start

from diffulex_edge import Model


def test_the_next_one_finds_it(exported, tmp_path):
    path, packs = exported("sdar-tiny", "int8-dynamic"), tmp_path / "packs"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Model(path, threads=1) as own, Model(path, threads=1, pack_cache=packs) as made:
            assert (own.pack_cache, made.pack_cache) == (None, "made")
            with own.session() as a, made.session() as b:
                assert (a.forward([3, 1, 4]) == b.forward([3, 1, 4])).all()
            assert [f.suffix for f in packs.iterdir()] == [".dlxpack"]
            with Model(path, threads=1, pack_cache=str(packs)) as found, found.workspace() as workspace:
                assert found.pack_cache == "found"
                memory = workspace.memory()
                assert memory.shared == memory.packed > 0
        for expected in ("made", "found"):  # a descriptor has no name: its file is told by its inode
            with open(path, "rb") as file, Model.from_fd(file, threads=1, pack_cache=packs) as opened:
                assert opened.pack_cache == expected
    answer = ("generate", path, "hello", "--no-chat", "--max-new-tokens", "4")
    alone, shared = run_json(*answer), run_json(*answer, "--pack-cache", packs)
    assert alone["output_ids"] == shared["output_ids"]


def test_a_model_works_without_one(exported, tmp_path):
    path, folder = exported("sdar-tiny", "int8-dynamic"), tmp_path / "a file"
    folder.write_text("")
    with pytest.warns(RuntimeWarning, match="a file"):
        model = Model(path, threads=1, pack_cache=folder)
    with model:
        assert model.pack_cache == "failed"
        assert model.generate("hello", chat=False, max_new_tokens=4).statistics.forwards > 0
    done = start("generate", path, "hello", "--no-chat", "--max-new-tokens", "4", "--pack-cache", folder)
    assert done.returncode == 0
    assert "no pack file" in done.stderr and "a file" in done.stderr
    assert folder.read_text() == ""
