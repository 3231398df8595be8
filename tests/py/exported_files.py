"""Fixture `exported`: the tiny checkpoints of tests/data as .pte files, exported once by the Python package."""

from pathlib import Path

import pytest
from oracles import not_here

DATA = Path(__file__).resolve().parent.parent / "data"
MODELS = ("llada", "dream", "sdar", "fast_dllm_v2")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """exported("sdar-tiny", "none", max_seq_len=128) -> path of the .pte"""
    import diffulex_edge

    folder, paths = tmp_path_factory.mktemp("exported"), {}

    def export(checkpoint, quantization="none", max_seq_len=128):
        key = (checkpoint, quantization, max_seq_len)
        if key not in paths:
            path = folder / ("-".join(map(str, key)) + ".pte")
            try:
                diffulex_edge.export_checkpoint(
                    DATA / "checkpoints" / checkpoint, path, quantization=quantization, max_seq_len=max_seq_len
                )
            except diffulex_edge.UnsupportedError as error:
                not_here(f"the library cannot export: {error}")
            paths[key] = path
        return paths[key]

    return export
