"""XNNPACK under the original's name."""
from typing import Any, Dict

from .base import BackendRegistry, LibraryBackend, exported_program

__all__ = ["XNNPACKBackend"]


class XNNPACKBackend(LibraryBackend):
    """CPUs: x86-64 and 64-bit Arm."""

    name = "xnnpack"

    def _details(self) -> Dict[str, Any]:
        return {**super()._details(), "supported_platforms": ["arm64", "x86_64"]}

    def _lowered(self, model: Any, example_inputs: Any, options: Dict[str, Any]) -> bytes:
        self._only(options)
        try:
            import torch
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise ImportError(f"exporting a torch module needs the packages torch and executorch: {error}") from error
        with torch.no_grad():
            exported = exported_program(model, example_inputs)
            return bytes(to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


BackendRegistry.register(XNNPACKBackend.name, XNNPACKBackend)
