"""Core ML under the original's name."""
from typing import Any, Dict

from .base import BackendRegistry, LibraryBackend, exported_program

__all__ = ["CoreMLBackend"]

_UNITS = {"cpu_and_ane": "cpu_and_ne"}      # the original's word: Core ML's


class CoreMLBackend(LibraryBackend):
    """Apple's processors. Files are written on any machine; they run on Apple's alone, in the official runtime.

    backend_options:
    compute_unit                "all", "cpu_only", "cpu_and_gpu" or "cpu_and_ane", which is Core ML's "cpu_and_ne" and the
                                default. Core ML has no Neural Engine without a CPU: "ane_only" is refused
    minimum_deployment_target   "iOS16", "iOS17" or "iOS18", the default

    Torch modules are lowered by the official exporter, which needs the package coremltools as well.
    """

    name = "coreml"
    _ALIASES = {"compute_unit": "compute_units"}

    def _value(self, keyword: str, value: Any) -> Any:
        if keyword == "compute_units" and value == "ane_only":
            raise ValueError("compute_unit 'ane_only' is not a choice that Core ML has: what the Neural Engine cannot do runs "
                             "on the CPU; expected all, cpu_only, cpu_and_gpu or cpu_and_ane")
        return _UNITS.get(value, value) if keyword == "compute_units" else value

    def _details(self) -> Dict[str, Any]:
        return {**super()._details(), "compute_units": ["all", "cpu_only", "cpu_and_gpu", "cpu_and_ane"],
                "minimum_deployment_targets": ["iOS16", "iOS17", "iOS18"],
                "supported_platforms": ["macos", "ios", "ipados", "watchos"]}

    def _choices(self, options: Dict[str, Any]) -> Dict[str, Any]:
        return {"compute_unit": options.get("compute_units") or "cpu_and_ne",
                "minimum_deployment_target": options.get("minimum_deployment_target") or "iOS18"}

    def _lowered(self, model: Any, example_inputs: Any, options: Dict[str, Any]) -> bytes:
        self._only(options, "compute_units", "minimum_deployment_target")
        try:
            import coremltools
            import torch
            from executorch.backends.apple.coreml.compiler import CoreMLBackend as Compiler
            from executorch.backends.apple.coreml.partition import CoreMLPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise ImportError("exporting a torch module to Core ML needs the packages torch, executorch and coremltools: "
                              f"{error}") from error
        chosen = self._choices(options)
        targets = {target.name.lower(): target for target in coremltools.target}
        units = {unit.name.lower(): unit for unit in coremltools.ComputeUnit}
        for kind, word, there in (("minimum_deployment_target", chosen["minimum_deployment_target"], targets),
                                  ("compute_unit", chosen["compute_unit"], units)):
            if str(word).lower() not in there:
                raise ValueError(f"{kind} '{word}' is not known to coremltools; expected one of {', '.join(there)}")
        specs = Compiler.generate_compile_specs(
            compute_unit=units[chosen["compute_unit"].lower()],
            minimum_deployment_target=targets[chosen["minimum_deployment_target"].lower()],
            compute_precision=coremltools.precision.FLOAT16)
        with torch.no_grad():
            exported = exported_program(model, example_inputs)
            partitioner = [CoreMLPartitioner(compile_specs=specs)]
            return bytes(to_edge_transform_and_lower(exported, partitioner=partitioner).to_executorch().buffer)


BackendRegistry.register(CoreMLBackend.name, CoreMLBackend)
