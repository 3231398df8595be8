"""DiffuLex Edge: diffusion language models on small machines.

    import diffulex_edge

    with diffulex_edge.Model("model.pte") as model:
        print(model.generate("Why is the sky blue?", gen_length=128))

This package is a thin layer over the C library libdiffulex_edge, which is loaded when it is first needed. Importing it
needs nothing but the standard library; numpy and torch arrays are taken and returned where they are installed.

Model, Session         a .pte and a timeline over it
Method                 any method of any program, with numpy arrays
Workspace, Batcher     many sequences of one model: shared memory, shared passes
ThreadPool             threads that models share
generate, complete     decode with any forward function: ids; text, stop strings and statistics
Tokenizer, render_chat text to ids and back
Constraint             what answers must be: a regular expression, a JSON schema
export_checkpoint      a Hugging Face checkpoint folder to a .pte
validate_export        how far that is from the checkpoint
quantize_report        what each form of weights costs, and a mix of forms
inspect                what a .pte contains
Bench, probes          what passes take on this machine, and what it could do at most
runtime, export, ...   the modules of the original Python system, see docs/PYTHON.md and docs/DIFFERENCES.md
"""
import importlib
from typing import TYPE_CHECKING, Any, List

__version__ = "0.2.0"

# name: module it comes from
_EXPORTS = {
    "Accepted": "decode", "ForwardCall": "decode", "Generation": "decode", "ModelFacts": "decode",
    "OptionInfo": "decode", "Step": "decode", "Token": "decode", "DecodeOptions": "options", "decode_options": "decode", "generate": "decode",
    "Completion": "completion", "Statistics": "completion", "complete": "completion",
    "Constraint": "constraint", "ConstraintInfo": "constraint",
    "CompletionStream": "streams", "stream": "streams",
    "BatchError": "workspace", "Batcher": "workspace", "BatcherCounts": "workspace", "Seat": "workspace", "Workspace": "workspace",
    "Memory": "session", "Model": "session", "Session": "session", "inspect": "session", "inspect_graph": "session",
    "inspect_method": "session",
    "Method": "method", "TensorInfo": "method",
    "ThreadPool": "threads",
    "Bench": "bench", "BenchDecode": "bench", "BenchPass": "bench", "Probe": "bench", "probes": "bench",
    "TextStream": "text", "Tokenizer": "text", "render_chat": "text",
    "Cancelled": "errors", "DlxError": "errors", "FileMissingError": "errors", "FolderError": "errors", "FormatError": "errors",
    "InternalError": "errors", "InvalidArgumentError": "errors", "IoError": "errors", "LibraryNotFoundError": "errors",
    "LimitError": "errors", "OutOfMemoryError": "errors", "UnsupportedError": "errors",
    "ExportStatistics": "export.native", "export_backends": "export.native", "export_checkpoint": "export.native",
    "export_kv_forms": "export.native", "export_schemes": "export.native", "export_socs": "export.native",
    "check_backend": "export.native",
    "quantize_report": "export.report", "Validation": "export.validation", "validate_export": "export.validation",
    "FastDLLMv2Edge": "model.modules", "FastDLLMv2EdgeConfig": "model.base",
    "KVCache": "model.kv_cache", "KVCacheConfig": "model.kv_cache", "create_kv_caches": "model.kv_cache",
}
_MODULES = ("backends", "errors", "export", "model", "quant", "runtime", "scripts")

__all__ = [
    "Accepted", "BatchError", "Batcher", "BatcherCounts", "Bench", "BenchDecode", "BenchPass", "Cancelled", "Completion", "CompletionStream", "Constraint", "ConstraintInfo", "DecodeOptions", "DlxError", "ExportStatistics",
    "FastDLLMv2Edge", "FastDLLMv2EdgeConfig", "FileMissingError", "FolderError", "FormatError", "ForwardCall", "Generation",
    "InternalError", "InvalidArgumentError", "IoError", "KVCache", "KVCacheConfig", "LibraryNotFoundError",
    "LimitError", "Memory", "Method", "Model", "ModelFacts", "OptionInfo", "OutOfMemoryError", "Probe", "Seat", "Session", "Statistics",
    "Step", "TensorInfo", "TextStream", "ThreadPool", "Token", "Tokenizer", "UnsupportedError", "Validation", "Workspace", "__version__", "check_backend", "complete",
    "create_kv_caches", "decode_options", "export_backends", "export_checkpoint", "export_kv_forms", "export_schemes", "export_socs",
    "generate", "inspect", "inspect_graph", "inspect_method", "library_version", "probes", "quantize_report", "render_chat", "stream",
    "validate_export",
]

if TYPE_CHECKING:
    from .bench import Bench, BenchDecode, BenchPass, Probe, probes
    from .completion import Completion, Statistics, complete
    from .constraint import Constraint, ConstraintInfo
    from .decode import Accepted, ForwardCall, Generation, ModelFacts, OptionInfo, Step, Token, decode_options, generate
    from .errors import (
        Cancelled,
        DlxError,
        FileMissingError,
        FolderError,
        FormatError,
        InternalError,
        InvalidArgumentError,
        IoError,
        LibraryNotFoundError,
        LimitError,
        OutOfMemoryError,
        UnsupportedError,
    )
    from .export.native import (
        ExportStatistics,
        check_backend,
        export_backends,
        export_checkpoint,
        export_kv_forms,
        export_schemes,
        export_socs,
    )
    from .export.report import quantize_report
    from .export.validation import Validation, validate_export
    from .model.base import FastDLLMv2EdgeConfig
    from .model.kv_cache import KVCache, KVCacheConfig, create_kv_caches
    from .method import Method, TensorInfo
    from .model.modules import FastDLLMv2Edge
    from .streams import CompletionStream, stream
    from .options import DecodeOptions
    from .session import Memory, Model, Session, inspect, inspect_graph, inspect_method
    from .text import TextStream, Tokenizer, render_chat
    from .threads import ThreadPool
    from .workspace import Batcher, BatcherCounts, BatchError, Seat, Workspace


def library_version() -> str:
    """Version of the loaded libdiffulex_edge, "0.2.0"."""
    from . import _native
    return str(_native.library().dlx_version_string().decode())


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is not None:
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__, *_MODULES})
