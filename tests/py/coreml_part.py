"""What the CoreML backend makes: payloads taken apart by ExecuTorch's own parser, programs run by coremltools' definitions
(mil_program.py), and what the stock runtime does around them, by numpy."""
import json
import os
import subprocess
from pathlib import Path

import numpy as np

from mil_program import MilProgram
from oracles import oracle

TYPES = {"f32": np.float32, "f16": np.float16}
SCALAR_TYPES = {0: np.uint8, 1: np.int8, 3: np.int32, 4: np.int64, 5: np.float16, 6: np.float32}  # of ExecuTorch


def make(folder, *args):
    """Runs make_coreml_part."""
    tool = Path(os.environ["DLX_BUILD_DIR"]) / "tests" / "make_coreml_part"
    done = subprocess.run([str(tool), str(folder), *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Payload:
    """A delegate's payload, or the named data that it refers to; its files by the runtime's own code. Where there are several
    functions, names of arguments are found by the method's name, as there."""

    def __init__(self, payload, folder, method=None, function="main"):
        parser = oracle("executorch.backends.apple.coreml.executorchcoreml", "CoreML payloads are")
        folder.mkdir(parents=True)
        assert parser.unflatten_directory_contents(payload, str(folder))
        (self.files,) = folder.iterdir()
        self.package = self.files / "model.mlpackage"
        self.about_all = json.loads((self.files / "metadata.json").read_text())
        self.metadata = self.about_all["methods"][method] if "methods" in self.about_all else self.about_all
        self.program = MilProgram(self.package, function)

    def __call__(self, *arrays):
        """Arguments and results as the delegate call has them; the delegate makes its int32 of int64."""
        names = self.metadata["inputNames"]
        out = self.program({name: x.astype(np.int32) if x.dtype == np.int64 else x
                            for name, x in zip(names, arrays, strict=True)})
        return [out[name] for name in self.metadata["outputNames"]]


class CoremlPart(Payload):
    """A graph of one operator, or a few."""

    def __init__(self, folder, *args):
        self.folder = Path(folder)
        make(folder, *args)
        self.about = json.loads((self.folder / "part.json").read_text())
        super().__init__((self.folder / "payload.bin").read_bytes(), self.folder / "unflattened")
        self.tables = {c["name"]: np.fromfile(self.folder / f"constant_{c['value']}.bin", TYPES[c["type"]]).reshape(c["dim"])
                       for c in self.about["constants"]}


class CoremlFile:
    """A method of a .pte whose delegates are all of CoreML: read by ExecuTorch's Python tools, and run."""

    def __init__(self, path, folder, method="forward"):
        tools = oracle("executorch.exir._serialize._program", "programs with CoreML delegates are")
        file = tools.deserialize_pte_binary(Path(path).read_bytes())
        self.program, self.keys = file.program, []
        (self.plan,) = [p for p in self.program.execution_plan if p.name == method]
        self.delegates = []
        for i, delegate in enumerate(self.plan.delegates):
            assert delegate.id == "CoreMLBackend"
            data, more = bytes(self.program.backend_delegate_data[delegate.processed.index].data), ()
            if data.startswith(b"CMJR"):
                reference = json.loads(data[4:])
                self.keys.append(reference["key"])
                entry = file.named_data.pte_data[reference["key"]]
                data, more = bytes(file.named_data.buffers[entry.buffer_index]), (method, reference["functionName"])
            self.delegates.append(Payload(data, Path(folder) / f"{method}-{i}", *more))

    def array(self, known, index):
        """The tensor of a value: given, computed, or a constant of the program."""
        if index not in known:
            tensor = self.plan.values[index].val
            data = self.program.constant_buffer[tensor.data_buffer_idx].storage
            known[index] = np.frombuffer(bytes(data), SCALAR_TYPES[int(tensor.scalar_type)]).reshape(tensor.sizes)
        return known[index]

    def kernel(self, call, known):
        name, args = self.plan.operators[call.op_index].name, call.args
        if name == "aten::embedding":
            known[args[-1]] = self.array(known, args[0])[self.array(known, args[1])]
        elif name == "aten::view_copy":
            known[args[-1]] = self.array(known, args[0]).reshape(self.plan.values[args[-1]].val.sizes)
        else:
            raise NotImplementedError(name)

    def delegate(self, call, known):
        payload = self.delegates[call.delegate_index]
        n = len(payload.metadata["inputNames"])
        results = payload(*[self.array(known, index) for index in call.args[:n]])
        for index, x in zip(call.args[n:], results, strict=True):
            assert list(x.shape) == self.plan.values[index].val.sizes
            assert x.dtype == SCALAR_TYPES[int(self.plan.values[index].val.scalar_type)]
            known[index] = x

    def __call__(self, *arrays):
        """Inputs and outputs of the method, in order."""
        known = dict(zip(self.plan.inputs, arrays, strict=True))
        for index, x in known.items():
            assert list(x.shape) == self.plan.values[index].val.sizes, index
        for chain in self.plan.chains:
            for instruction in chain.instructions:
                call = instruction.instr_args
                {"KernelCall": self.kernel, "DelegateCall": self.delegate}[type(call).__name__](call, known)
        return [self.array(known, index) for index in self.plan.outputs]

    def states(self):
        """What the delegates keep, by name."""
        return {name: x for d in self.delegates for name, x in d.program.states.items()}

    def input(self, name):
        """Shape and type of an input."""
        for index in self.plan.inputs:
            tensor = self.plan.values[index].val
            if tensor.extra_tensor_info.fully_qualified_name == name:
                return tensor.sizes, SCALAR_TYPES[int(tensor.scalar_type)]
        raise KeyError(name)

    def input_names(self):
        return [self.plan.values[i].val.extra_tensor_info.fully_qualified_name for i in self.plan.inputs]
