#!/usr/bin/env python3
"""Writes tests/data/format/coremltools/*.mlmodel: a linear, a matmul and a conv over constants, as coremltools stores these in
each of its forms, and of two of them programs for the fuzzer of .pte files, tests/fuzz/corpus/pte/coremltools_*.

usage: make_coreml_models.py          with coremltools 9 and ExecuTorch 1.4 installed
"""
import json
from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as optimize
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

ROOT = Path(__file__).resolve().parent.parent
OUT, CORPUS = ROOT / "tests/data/format/coremltools", ROOT / "tests/fuzz/corpus/pte"
SEEDS = ("ios16_int8", "ios18_sparse_lut4")


def model(target):
    random = np.random.default_rng(1)

    def weights(*shape):
        return random.standard_normal(shape).astype(np.float16)

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 64), dtype=types.fp16)], opset_version=target)
    def program(x):
        x = mb.linear(x=x, weight=weights(96, 64), bias=weights(96), name="first")
        x = mb.matmul(x=x, y=weights(96, 64), name="second")
        return mb.conv(x=mb.expand_dims(x=x, axes=[2]), weight=weights(32, 64, 1), name="third")

    return ct.convert(program, minimum_deployment_target=target, skip_model_load=True, compute_precision=ct.precision.FLOAT16)


def integers(x, **how):
    return optimize.linear_quantize_weights(x, optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", weight_threshold=0, **how)))


def looked_up(x, joint=False, **how):
    return optimize.palettize_weights(x, optimize.OptimizationConfig(optimize.OpPalettizerConfig(
        mode="uniform", nbits=4, weight_threshold=0, **how)), joint_compression=joint)


def sparse(x):
    return optimize.prune_weights(x, optimize.OptimizationConfig(optimize.OpMagnitudePrunerConfig(
        target_sparsity=0.75, weight_threshold=0)))


def payload(bytes_of_model):
    """What ExecuTorch's delegate takes: files, and their tree as JSON with its bytes in reverse."""
    metadata = json.dumps({"inputNames": ["x"], "outputNames": ["third"], "identifier": "executorch_1"}).encode()

    def node(name, children=None, offset=0, size=0):
        return {"children": children or {}, "dataRegion": {"offset": offset, "size": size}, "kind": int(children is not None),
                "name": name}

    nodes = [node("metadata.json", None, 0, len(metadata)), node("model.mlmodel", None, len(metadata), len(bytes_of_model)),
             node("com.apple.CoreML", {"model.mlmodel": 1}), node("Data", {"com.apple.CoreML": 2}),
             node("model.mlpackage", {"Data": 3}), node("root", {"metadata.json": 0, "model.mlpackage": 4})]
    return metadata + bytes_of_model + json.dumps({"nodes": nodes}, separators=(",", ":")).encode()[::-1]


def seed(name, bytes_of_model):
    """The official exporter's program with that model in its delegate."""
    file = deserialize_pte_binary((ROOT / "tests/data/format/official_coreml.pte").read_bytes())
    delegate = file.program.execution_plan[0].delegates[0]
    file.program.backend_delegate_data[delegate.processed.index].data = payload(bytes_of_model)
    (CORPUS / f"coremltools_{name}").write_bytes(bytes(serialize_pte_binary(file)))


def main():
    ios16, ios18 = model(ct.target.iOS16), model(ct.target.iOS18)
    forms = {"ios18_f16": ios18, "ios16_int8": integers(ios16), "ios16_lut4": looked_up(ios16), "ios16_sparse": sparse(ios16),
             "ios18_int8": integers(ios18), "ios18_int4_32": integers(ios18, dtype="int4", granularity="per_block", block_size=32),
             "ios18_lut4_16": looked_up(ios18, granularity="per_grouped_channel", group_size=16),
             "ios18_sparse_lut4": looked_up(sparse(ios18), joint=True)}
    OUT.mkdir(parents=True, exist_ok=True)
    for name, compressed in forms.items():
        stored = compressed.get_spec().SerializeToString(deterministic=True)
        (OUT / f"{name}.mlmodel").write_bytes(stored)
        if name in SEEDS:
            seed(name, stored)


if __name__ == "__main__":
    main()
