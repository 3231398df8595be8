"""From a registered program to a file and its answers, by ExecuTorch's exporter."""
import copy
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import torch

from foreign.registry import CONTEXT, Function, HEADS, KV, SCALAR_TYPES, VOCABULARY, WIDTH


def partitioners(lowering):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
    if lowering == "portable":
        return []
    if lowering in DYNAMIC:
        return [XnnpackDynamicallyQuantizedPartitioner(), XnnpackPartitioner()]
    return [XnnpackPartitioner()]


def quantised(module, calls):
    """Statically, by PyTorch's own flow."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer, get_symmetric_quantization_config)
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
    prepared = prepare_pt2e(torch.export.export(module, calls[0]).module(), quantizer)
    prepared(*calls[0])
    return convert_pt2e(prepared)


DYNAMIC = ("8da8w", "8da4w", "8da4c")  # activations


def with_integer_weights(module, lowering):
    if lowering == "w8":
        from executorch.examples.models.llama.source_transformation.quantize import WeightOnlyInt8QuantHandler
        return WeightOnlyInt8QuantHandler(module).quantized_model()
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.utils import unwrap_tensor_subclass
    weights = torch.int8 if lowering == "8da8w" else torch.int4
    granularity = PerGroup(32) if lowering == "8da4w" else PerAxis(0)
    quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=weights, weight_granularity=granularity))
    return unwrap_tensor_subclass(module) or module


def lower_methods(spec):
    from executorch.exir import to_edge_transform_and_lower
    torch.manual_seed(3)
    call = spec["calls"]()[0]
    exported = {name: torch.export.export(module.eval(), call) for name, module in spec["make"]().items()}
    edge = to_edge_transform_and_lower(
        exported, partitioner={name: partitioners("xnnpack") for name in exported},
        constant_methods={"get_size": 3, "get_scale": 0.5, "get_flag": True, "get_name": "two", "get_ids": [4, 5]})
    return edge.to_executorch()


def made(spec):
    """The module of a specification, with weights that are the same each time."""
    torch.manual_seed(3)
    module = spec["make"]().eval()
    for p in module.parameters():
        p.requires_grad_(False)
        if p.dim() > 1:
            p.normal_(0, 0.4)
    return module


def lower(name, spec):
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
    from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
    module = made(spec)
    if spec["lowering"] in (*DYNAMIC, "w8"):
        module = with_integer_weights(module, spec["lowering"])
    calls = spec["calls"]()
    if "dtype" in spec:
        module = module.to(spec["dtype"])
        calls = [tuple(t.to(spec["dtype"]) for t in call) for call in calls]
    if spec["lowering"] == "static":
        module = quantised(module, calls)
    dynamic = spec["dynamic"]() if spec["dynamic"] else None
    if dynamic and isinstance(module, Function):
        dynamic = (dynamic,)  # of *args
    fresh = copy.deepcopy(module)
    with torch.no_grad(), torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        exported = torch.export.export(module, calls[0] if len(calls[0]) else calls, dynamic_shapes=dynamic, strict=False)
        answers = [fresh(*copy.deepcopy(c)) for c in calls]
    edge = to_edge_transform_and_lower(exported, partitioner=partitioners(spec["lowering"]),
                                       compile_config=EdgeCompileConfig(_check_ir_validity=False))
    passes = []
    if spec.get("initialised"):
        passes.append(InitializedMutableBufferPass(list(spec["initialised"])))
    if spec.get("llm"):
        config = ExecutorchBackendConfig(
            extract_delegate_segments=True, do_quant_fusion_and_const_prop=True, passes=passes,
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass())
    else:
        config = ExecutorchBackendConfig(extract_delegate_segments=True, passes=passes)
    return edge.to_executorch(config), calls, answers


def export_llama(spec, path):
    """The official program writes the file; the module answers."""
    module = made(spec)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        torch.save(module.state_dict(), folder / "weights.pth")
        (folder / "params.json").write_text(json.dumps(dict(
            dim=WIDTH, n_layers=len(module.layers), n_heads=HEADS, n_kv_heads=KV, vocab_size=VOCABULARY, hidden_dim=24)))
        subprocess.run([sys.executable, "-m", "executorch.examples.models.llama.export_llama", "-X", "-kv", *spec["official"],
                        "-c", folder / "weights.pth", "-p", folder / "params.json", "-d", "fp32", "-o", folder,
                        "--max_seq_length", str(CONTEXT), "--max_context_length", str(CONTEXT), "-n", "program"],
                       check=True, cwd=folder)
        shutil.copyfile(folder / "program.pte", path)
    calls = spec["calls"]()
    with torch.no_grad(), torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        return calls, [module(*copy.deepcopy(c)) for c in calls]


def flat(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [t for part in (tree.values() if isinstance(tree, dict) else tree) for t in flat(part)]


def write_io(path, calls, answers):
    with open(path, "wb") as out:
        out.write(b"DLXIO1\0\0" + struct.pack("<q", len(calls)))
        for call, answer in zip(calls, answers):
            inputs, outputs = flat(call), flat(answer)
            out.write(struct.pack("<2q", len(inputs), len(outputs)))
            for t in inputs + outputs:
                data = t.detach().contiguous().numpy().tobytes()
                out.write(struct.pack(f"<{2 + t.dim()}q", SCALAR_TYPES[t.dtype], t.dim(), *t.shape))
                out.write(data + b"\0" * (-len(data) % 8))
