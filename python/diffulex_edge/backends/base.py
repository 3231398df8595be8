"""Backends by name, and what they are configured with."""
import abc
import dataclasses
import inspect
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Type

__all__ = ["BackendConfig", "BackendRegistry", "EdgeBackend", "ExportResult", "LibraryBackend"]


@dataclasses.dataclass
class ExportResult:
    """The bytes of a .pte, or why there are none."""

    success: bool
    buffer: Optional[bytes] = None
    error_message: Optional[str] = None
    metadata: Dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metadata = self.metadata or {}


@dataclasses.dataclass
class BackendConfig:
    """How checkpoint folders are exported. Torch modules are lowered as they are: where quantize is set, as in the original,
    the caller has quantised them.

    quantize, quantization_mode   int8 weights, with "dynamic", "static" or "weight_only" activations, as far as the
                       backend has them (docs/PYTHON.md); not quantised are float32 with "xnnpack", float16 with the others
    max_seq_len        positions of the program; 2048: the checkpoint's, at most that many
    backend_options    "compute_unit" and "minimum_deployment_target" of "coreml", "soc_model" of "qnn", and every keyword
                       of export_checkpoint but emit, which count more than the settings here

    The other fields are kept for the caller.
    """

    backend_name: str = "xnnpack"
    quantize: bool = False
    quantization_mode: str = "weight_only"
    memory_planning: str = "greedy"
    max_memory_mb: int = 2048
    max_seq_len: int = 2048
    batch_size: int = 1
    backend_options: Dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backend_options = self.backend_options or {}


def positions(max_seq_len: int) -> int:
    """max_seq_len for export_checkpoint: the default of 2048 means at most that many, as 0 does there."""
    return 0 if max_seq_len == 2048 else max_seq_len


def exported_program(model: Any, example_inputs: Any) -> Any:
    """What torch.export makes of a module."""
    import torch
    by_name = example_inputs if isinstance(example_inputs, dict) else None
    return torch.export.export(model.eval(), () if by_name else tuple_of(example_inputs), by_name)


def tuple_of(example_inputs: Any) -> Tuple[Any, ...]:
    """Inputs by position."""
    return tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)


# Where a word of the original's means another scheme than the library's of that name. Numbers that are not quantised are
# float16 where the processor has no others; "qnn" has activations on grids of 16 bits in either case.
_WORDS = {
    "coreml": {"none": "fp16"},
    "qnn": {"none": "fp16", "static_int8": "a16w8", "weight_only_int8": "a16w8"},
}


def scheme_of(backend: str, word: str) -> str:
    """What export_checkpoint calls a quantisation of the original's: "none", "dynamic_int8", "static_int8",
    "weight_only_int8", "fp16", "int4"; any other word is its own."""
    return _WORDS.get(backend, {}).get(word.replace("-", "_"), word)


class EdgeBackend(abc.ABC):
    """export(model, example_inputs) -> ExportResult. A checkpoint folder needs no inputs."""

    name = ""

    def __init__(self, config: Optional[BackendConfig] = None) -> None:
        self.config = config or BackendConfig(backend_name=self.name)

    @abc.abstractmethod
    def is_available(self) -> bool:
        """Whether what it needs is installed."""

    def get_metadata(self) -> Dict[str, Any]:
        """What the backend is and can do."""
        return {"name": self.name, "available": self.is_available(), "config": dataclasses.asdict(self.config),
                "supported_platforms": [], "supports_quantization": False, **self._details()}

    def _details(self) -> Dict[str, Any]:
        return {}

    def export(self, model: Any, example_inputs: Any = None, config: Optional[BackendConfig] = None) -> ExportResult:
        """The bytes of a .pte; failures are in the result.

        model            a checkpoint folder, or "org/name", for this package's exporter; or a torch module, which the
                         official exporter lowers (packages torch and executorch)
        example_inputs   for torch modules: a tuple, one tensor, or tensors by the names of parameters
        config           from now on in place of the backend's own
        """
        self.config = config or self.config
        try:
            buffer, metadata = self._made(model, example_inputs)
        except Exception as error:  # noqa: BLE001 - the result carries it
            return ExportResult(False, error_message=str(error))
        return ExportResult(True, buffer, metadata={
            "backend": self.name, "quantized": self.config.quantize, "buffer_size_bytes": len(buffer),
            "quantization_mode": self.config.quantization_mode if self.config.quantize else None, **metadata})

    def _made(self, model: Any, example_inputs: Any) -> Tuple[bytes, Dict[str, Any]]:
        """The bytes, and what else is to be said of them."""
        raise NotImplementedError(f"backend '{self.name}' exports nothing")


class BackendRegistry:
    """Backend classes by name, whose case does not matter."""

    _classes: Dict[str, Type[EdgeBackend]] = {}

    @classmethod
    def register(cls, name: str, backend_class: Type[EdgeBackend]) -> None:
        """Makes a backend known by its name."""
        cls._classes[name.lower()] = backend_class

    @classmethod
    def get(cls, name: str) -> Optional[Type[EdgeBackend]]:
        """The class of that name; None when there is none."""
        return cls._classes.get(name.lower())

    @classmethod
    def list_backends(cls) -> Dict[str, Type[EdgeBackend]]:
        """Names of all that are known."""
        return dict(cls._classes)

    @classmethod
    def create(cls, name: str, config: Optional[BackendConfig] = None) -> Optional[EdgeBackend]:
        """A backend, or None when there is none of that name."""
        backend = cls.get(name)
        return None if backend is None else backend(config)


class LibraryBackend(EdgeBackend):
    """One that the library writes checkpoint folders for; children say what is theirs alone."""

    # Options of the original's, or of the official exporter: keyword of export_checkpoint
    _ALIASES: Dict[str, str] = {}

    def missing(self) -> Optional[str]:
        """What checkpoint folders cannot be exported without, and how to get it; None: nothing is missing."""
        from ..errors import DlxError
        from ..export.native import check_backend
        known = [p.name for p in inspect.signature(check_backend).parameters.values() if p.kind is p.KEYWORD_ONLY]
        try:
            check_backend(self.name, **{name: value for name, value in self.options().items() if name in known})
        except (DlxError, ValueError) as error:
            return str(error)
        return None

    def is_available(self) -> bool:
        """Whether checkpoint folders can be exported here; missing() says what for."""
        return self.missing() is None

    def options(self) -> Dict[str, Any]:
        """backend_options as keywords of export_checkpoint. ValueError for what is none, and where two say the same."""
        from ..export.native import export_checkpoint
        known = {p.name for p in inspect.signature(export_checkpoint).parameters.values() if p.kind is p.KEYWORD_ONLY}
        given: Dict[str, Any] = {}
        names: Dict[str, str] = {}
        for name, value in self.config.backend_options.items():
            keyword = self._ALIASES.get(name, name)
            if keyword not in known or keyword in ("backend", "emit"):
                raise ValueError(f"backend '{self.name}' has no option '{name}'; expected "
                                 f"{' or '.join([*self._ALIASES, 'a keyword of export_checkpoint'])}")
            if keyword in given:
                raise ValueError(f"{names[keyword]} and {name} are the same option of backend '{self.name}'; give one of them")
            names[keyword] = name
            given[keyword] = self._value(keyword, value)
        return given

    def _value(self, keyword: str, value: Any) -> Any:
        """What export_checkpoint calls the value of an option."""
        del keyword
        return value

    def keywords(self) -> Dict[str, Any]:
        """All that the configuration says to export_checkpoint."""
        mode = self.config.quantization_mode
        if self.config.quantize and mode not in ("dynamic", "static", "weight_only"):
            raise ValueError(f"quantization_mode '{mode}' cannot be exported; expected dynamic, static or weight_only")
        word = f"{mode}_int8" if self.config.quantize else "none"
        return {"backend": self.name, "quantization": scheme_of(self.name, word),
                "max_seq_len": positions(self.config.max_seq_len), **self.options()}

    def _details(self) -> Dict[str, Any]:
        from ..errors import DlxError
        from ..export.native import export_schemes
        try:
            schemes = [scheme.name for scheme in export_schemes() if self.name in scheme.backends]
        except DlxError:    # no library, which "missing" says
            schemes = []
        return {"supports_quantization": True, "quantization": schemes, "missing": self.missing()}

    def _made(self, model: Any, example_inputs: Any) -> Tuple[bytes, Dict[str, Any]]:
        if not isinstance(model, (str, os.PathLike)):
            if not (callable(model) and hasattr(model, "eval")):
                raise TypeError(f"a {type(model).__name__} cannot be exported; expected a checkpoint folder, \"org/name\", or a "
                                "torch module")
            options = self.options()
            return self._lowered(model, example_inputs, options), self._choices(options)
        from ..export.native import export_checkpoint
        keywords = self.keywords()
        with tempfile.TemporaryDirectory(prefix="diffulex-edge-") as folder:
            path = Path(folder) / "model.pte"
            written = export_checkpoint(model, path, **keywords)
            return path.read_bytes(), {"quantization": written.quantization, "kv": written.kv, **self._choices(keywords)}

    def _lowered(self, model: Any, example_inputs: Any, options: Dict[str, Any]) -> bytes:
        """A torch module, lowered by the official exporter."""
        raise NotImplementedError(f"backend '{self.name}' lowers no torch modules")

    def _choices(self, options: Dict[str, Any]) -> Dict[str, Any]:
        """What a result says of the backend's own options."""
        del options
        return {}

    def _only(self, options: Dict[str, Any], *names: str) -> None:
        """ValueError for other options than these, which the official exporter does not have."""
        others = sorted(set(options) - set(names))
        if others:
            raise ValueError(f"{', '.join(others)}: for checkpoint folders; a torch module is lowered with "
                             f"{', '.join(names) or 'no options'}")
