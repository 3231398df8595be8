"""QNN under the original's name."""
import os
from typing import Any, Dict

from .base import BackendRegistry, LibraryBackend, tuple_of

__all__ = ["QNNBackend"]


class QNNBackend(LibraryBackend):
    """Qualcomm's Hexagon processors. Files are compiled for one chip by Qualcomm's libraries (missing() says how to get
    them), and run in the official runtime.

    backend_options:
    soc_model     the chip, "SM8650" (the default) or any other name of export_socs(), in either case
    qnn_lib_dir   a folder of Qualcomm's libraries; None: where export_checkpoint finds them

    Weights in int8 have activations on grids of 16 bits, which calibration data is needed for: "weight_only" and "static"
    are the same. Torch modules are lowered by the official exporter, as floats of 16 bits, which needs Qualcomm's development
    kit in $QNN_SDK_ROOT.
    """

    name = "qnn"
    _ALIASES = {"soc_model": "soc"}

    def _details(self) -> Dict[str, Any]:
        from ..errors import DlxError
        from ..export.native import export_socs
        try:
            chips = [chip.name for chip in export_socs()]
        except DlxError:
            chips = []
        return {**super()._details(), "supported_soc": chips, "supported_platforms": ["android", "linux_embedded"],
                "requires_sdk": False}

    def _choices(self, options: Dict[str, Any]) -> Dict[str, Any]:
        return {"soc_model": str(options.get("soc") or "SM8650").upper()}

    def _lowered(self, model: Any, example_inputs: Any, options: Dict[str, Any]) -> bytes:
        self._only(options, "soc")
        if not os.environ.get("QNN_SDK_ROOT"):
            raise RuntimeError("QNN is not available for torch modules: the official exporter needs Qualcomm's AI Engine Direct "
                               "SDK, which $QNN_SDK_ROOT does not name; a checkpoint folder needs no SDK")
        try:
            import torch
            from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
            from executorch.backends.qualcomm.utils.utils import (
                generate_htp_compiler_spec,
                generate_qnn_executorch_compiler_spec,
                to_edge_transform_and_lower_to_qnn,
            )
        except ImportError as error:
            raise ImportError("exporting a torch module to QNN needs the packages torch and executorch, the latter with its "
                              f"Qualcomm backend: {error}") from error
        word = self._choices(options)["soc_model"]
        if word not in QcomChipset.__members__:
            raise ValueError(f"soc_model '{word}' is not known to the official exporter of QNN; expected one of "
                             f"{', '.join(QcomChipset.__members__)}")
        specs = generate_qnn_executorch_compiler_spec(
            soc_model=QcomChipset[word], backend_options=generate_htp_compiler_spec(use_fp16=True))
        with torch.no_grad():
            program = to_edge_transform_and_lower_to_qnn(model.eval(), tuple_of(example_inputs), specs)
            return bytes(program.to_executorch().buffer)


BackendRegistry.register(QNNBackend.name, QNNBackend)
