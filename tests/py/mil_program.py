"""ML Programs without Apple's machines: coremltools reads and type-checks them, and its own definitions of the operators
compute them one by one.

What those definitions do not say, or do in float16 where an engine would not, is written down here: products, layer norms
and sums are of float32 numbers, whose result is rounded to the type of the operands.
"""
import numpy as np

from oracles import oracle

ct = oracle("coremltools", "ML Programs are")
from coremltools.converters.mil.frontend.milproto.helper import proto_to_types  # noqa: E402
from coremltools.converters.mil.frontend.milproto.load import load  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402


def number_type(type_of):
    return types.nptype_from_builtin(type_of)


def wide(x):
    return np.asarray(x).astype(np.float32, copy=False)


def linear(x, weight, bias):
    return wide(x) @ wide(weight).T + wide(bias)


def matmul(x, y, transpose_x=False, transpose_y=False):
    x, y = wide(x), wide(y)
    return (np.swapaxes(x, -1, -2) if transpose_x else x) @ (np.swapaxes(y, -1, -2) if transpose_y else y)


def layer_norm(x, axes, epsilon, gamma=None, beta=None):
    assert gamma is None and beta is None
    x, axes = wide(x), tuple(int(a) for a in axes)
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + np.float32(epsilon))


def softmax(x, axis):
    e = np.exp(wide(x) - wide(x).max(axis=int(axis), keepdims=True))
    return e / e.sum(axis=int(axis), keepdims=True)


def reduced(function):
    def reduce(x, axes, keep_dims):
        return function(wide(x), axis=tuple(int(a) for a in axes), keepdims=bool(keep_dims))

    return reduce


OWN = {"linear": linear, "matmul": matmul, "layer_norm": layer_norm, "softmax": softmax, "reduce_mean": reduced(np.mean),
       "reduce_sum": reduced(np.sum), "reduce_max": reduced(np.max), "reduce_min": reduced(np.min)}


class Number:
    """What coremltools keeps the number of a constant in."""

    def __init__(self, val):
        self.val = val


class MilProgram:
    """A function of the program of a package. `states`: what it keeps between calls, by name."""

    def __init__(self, package, function="main"):
        model = ct.models.MLModel(str(package), skip_model_load=True)
        self.spec = model.get_spec()
        self.program = load(self.spec, specification_version=self.spec.specificationVersion,
                            file_weights_dir=model.weights_dir)
        self.name, self.function = function, self.program.functions[function]
        self.states = {}
        for name, value in self.function.inputs.items():
            if types.is_state(value.sym_type):
                kept = value.sym_type.wrapped_type()
                self.states[name] = np.zeros(kept.get_shape(), number_type(kept.get_primitive()))
        self.constants = {}

    def block(self):
        (block,) = self.spec.mlProgram.functions[self.name].block_specializations.values()
        return block

    def operators(self):
        return [op.op_type for op in self.function.operations]

    def check_declared_types(self):
        """What the file says about every value, constants too, is what coremltools infers."""
        named = {v.name: v for op in self.function.operations for v in op.outputs}
        for op in self.block().operations:
            for declared in op.outputs:
                if declared.name not in named:
                    assert op.type == "read_state", declared.name  # joined with the write in front of it
                    continue
                found, said = named[declared.name].sym_type, proto_to_types(declared.type)
                if types.is_tensor(found) and not types.is_tensor(said):
                    found = found.get_primitive()
                assert said == found or types.is_compatible_type(found, said), (op.type, declared.name, said, found)

    def value(self, known, v):
        if v in known:
            return known[v]
        if v not in self.constants:
            assert v.val is not None or v.op.op_type.startswith("constexpr_"), v.name
            number = v.val if v.val is not None else v.op.materialized_val_inference()
            # Weights are widened once and not in every call.
            only_linear = all(op.op_type == "linear" for op in v.child_ops)
            self.constants[v] = wide(number) if only_linear and np.ndim(number) else number
        return self.constants[v]

    def compute(self, op, given):
        """Results of an operator, whose operands are numbers."""
        if op.op_type in OWN:
            return [OWN[op.op_type](**given)]
        result = op.value_inference()  # of operands that carry what `remember` gave them
        assert result is not None, f"coremltools does not say what {op.op_type} computes"
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def remember(self, known, v, number):
        """Values that are computed look to coremltools as if they were constants, until forget."""
        known[v], v._sym_val = number, Number(number)

    def forget(self, known):
        for v in known:
            v._sym_val = None

    def step(self, op, known):
        if op.op_type == "const" or op.op_type.startswith("constexpr_"):
            return
        if op.op_type == "read_state":
            self.remember(known, op.outputs[0], self.states[op.inputs["input"].name].copy())
            return
        if op.op_type == "coreml_update_state":
            self.states[op.inputs["state"].name] = written = np.array(self.value(known, op.inputs["value"]))
            self.remember(known, op.outputs[0], written)
            return
        given = {name: [self.value(known, v) for v in value] if isinstance(value, (list, tuple)) else self.value(known, value)
                 for name, value in op.inputs.items() if value is not None and not name.startswith("_")}
        for v, result in zip(op.outputs, self.compute(op, given), strict=True):
            number = np.asarray(result).astype(number_type(v.dtype))
            assert number.shape == tuple(v.shape or ()), (op.op_type, v.name)
            self.remember(known, v, number)

    def __call__(self, feeds):
        """{name: array} of what goes in, of the declared types and shapes, and of what comes out."""
        known = {}
        for name, v in self.function.inputs.items():
            if name in self.states:
                continue
            x = np.asarray(feeds[name])
            assert x.dtype == number_type(v.dtype) and x.shape == tuple(v.shape), (name, x.dtype, x.shape, v.shape)
            self.remember(known, v, x)
        try:
            with np.errstate(over="ignore"):
                for op in self.function.operations:
                    self.step(op, known)
            return {v.name: self.value(known, v) for v in self.function.outputs}
        finally:
            self.forget(known)
