"""Quantisation settings and results under the original's names, and what all quantisers share.

Quantising happens while a checkpoint folder is exported: what these classes and functions make is a .pte.
"""
import dataclasses
import difflib
import enum
import functools
import inspect
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

from .. import arguments
from .._native import PathLike
from ..errors import FileMissingError
from . import checkpoint

__all__ = ["BaseQuantizer", "QuantizationConfig", "QuantizationDtype", "QuantizationMode", "QuantizationResult",
           "get_model_size_info"]


class QuantizationDtype(enum.Enum):
    """Element types by name."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


class QuantizationMode(enum.Enum):
    """Ways of quantising by name: what becomes of activations."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    WEIGHT_ONLY = "weight_only"
    QAT = "qat"


_XNNPACK = {
    (QuantizationDtype.FP32, QuantizationMode.DYNAMIC): "none",
    (QuantizationDtype.FP32, QuantizationMode.WEIGHT_ONLY): "none",
    (QuantizationDtype.FP16, QuantizationMode.DYNAMIC): "fp16",
    (QuantizationDtype.FP16, QuantizationMode.WEIGHT_ONLY): "fp16",
    (QuantizationDtype.INT8, QuantizationMode.DYNAMIC): "int8-dynamic",
    (QuantizationDtype.INT8, QuantizationMode.STATIC): "int8-static",
    (QuantizationDtype.INT8, QuantizationMode.WEIGHT_ONLY): "int8-weight-only",
    (QuantizationDtype.INT4, QuantizationMode.DYNAMIC): "int4{group}",
}
_COREML = {
    (QuantizationDtype.FP16, QuantizationMode.DYNAMIC): "fp16",
    (QuantizationDtype.FP16, QuantizationMode.WEIGHT_ONLY): "fp16",
    (QuantizationDtype.INT8, QuantizationMode.WEIGHT_ONLY): "int8-weight-only",
    (QuantizationDtype.INT4, QuantizationMode.WEIGHT_ONLY): "int4{group}-weight-only",
}
_QNN = {    # activations have 16 bits, on grids that calibration finds, whether one calls that static or not quantised
    (QuantizationDtype.FP16, QuantizationMode.DYNAMIC): "fp16",
    (QuantizationDtype.FP16, QuantizationMode.WEIGHT_ONLY): "fp16",
    (QuantizationDtype.INT8, QuantizationMode.STATIC): "a16w8",
    (QuantizationDtype.INT8, QuantizationMode.WEIGHT_ONLY): "a16w8",
    (QuantizationDtype.INT4, QuantizationMode.STATIC): "a16w4{group}",
    (QuantizationDtype.INT4, QuantizationMode.WEIGHT_ONLY): "a16w4{group}",
}
_SCHEMES = {"xnnpack": _XNNPACK, "coreml": _COREML, "qnn": _QNN}
_GROUPS = {"xnnpack": (0, 32, 64, 128), "coreml": (0, 32, 64, 128), "qnn": (0, 32)}
_OWN_MODE = {"coreml": QuantizationMode.WEIGHT_ONLY, "qnn": QuantizationMode.STATIC}
_KEEPS_LM_HEAD = ("lm_head",)
_EXCLUDED = ("lm_head", "norm", "embedding")    # whatever the model has of them
_KINDS = ("linear", "embedding", "layernorm", "rmsnorm", "softmax", "attention", "rotary", "silu")
_SAID = {QuantizationDtype.FP32: ("none", "fp32", "float32"), QuantizationDtype.FP16: ("fp16", "float16"),
         QuantizationDtype.INT4: ("int4", "w4")}


@dataclasses.dataclass
class QuantizationConfig:
    """What becomes of a checkpoint's weights and activations. The first nine settings are the original's.

    dtype, mode        of the weights, and of the activations; words in any case will do. fp16 and fp32 have float
                       activations whatever the mode, which cannot be static; int4 has the mode dynamic only. With other
                       backends than "xnnpack" integers have other modes: "coreml" weight_only, "qnn" static, which is
                       the same as weight_only there
    exclude_layers     parts of names of layers whose weights stay float32, without regard to case: names of the original's
                       modules ("layers.0.mlp.down_proj", "embed_tokens", "lm_head") or of the checkpoint's tensors. Quantising
                       refuses a part that no name of the model has, but for those of the default.
                       "coreml" makes float16 of them; with integers of "qnn", which has no floats beside them, the default
                       means no layer
    preserve_precision_layers   the same with parts of the kind: "linear", "embedding". Norms and softmax are float32 anyway
    is_per_channel     True: int8 and int4 have a scale for each row (or group). There is no other way
    is_qat             False: there is no training here
    scheme             a name of export_schemes() in place of dtype and mode; a ValueError where those say something else
    calibration_samples   how many samples are made of calibration data, where static activations or rounding need them
    preserve_activation_precision_layers   as exclude_layers: layers that are multiplied with float activations
                       (int8-weight-only) where the scheme quantises activations. With a recipe, which decides this, it
                       must be as it is by default

    group_size         int4: weights of a row that share a scale, 32, 64 or 128; 0: the whole row
    rounding, calibration, calibration_length, calibration_seed, observer, ranges   as for export_checkpoint
    recipe             a file for export_checkpoint's quantization_config; its "default" stands in for dtype and mode
    """

    dtype: QuantizationDtype = QuantizationDtype.INT8
    mode: QuantizationMode = QuantizationMode.DYNAMIC
    exclude_layers: Tuple[str, ...] = ("lm_head", "norm", "embedding")
    preserve_precision_layers: Tuple[str, ...] = ("layernorm", "rmsnorm", "softmax")
    is_per_channel: bool = True
    is_qat: bool = False
    scheme: Optional[str] = None
    calibration_samples: int = 100
    preserve_activation_precision_layers: Tuple[str, ...] = _KEEPS_LM_HEAD
    group_size: int = 32
    rounding: Optional[str] = None
    calibration: Optional[PathLike] = None
    calibration_length: int = 0
    calibration_seed: int = 0
    observer: Optional[str] = None
    ranges: Optional[PathLike] = None
    recipe: Optional[PathLike] = None

    def __post_init__(self) -> None:
        self.dtype = _member("dtype", QuantizationDtype, self.dtype)
        self.mode = _member("mode", QuantizationMode, self.mode)
        for name in ("exclude_layers", "preserve_precision_layers", "preserve_activation_precision_layers"):
            check_parts(name, getattr(self, name))
        for name in ("is_per_channel", "is_qat"):
            arguments.a_flag(name, getattr(self, name))
        for name in ("calibration_samples", "calibration_length", "calibration_seed", "group_size"):
            setattr(self, name, arguments.a_number(name, getattr(self, name)))
        for name in ("scheme", "rounding", "observer"):
            arguments.a_text(name, getattr(self, name))
        for name in ("calibration", "ranges", "recipe"):
            arguments.a_path(name, getattr(self, name))
        self._check_kinds()
        self._check_scheme()
        if self.mode is QuantizationMode.QAT:
            self.is_qat = True

    def _check_kinds(self) -> None:
        for part in self.preserve_precision_layers:
            if not any(part.lower() in kind for kind in _KINDS):
                raise ValueError(f"preserve_precision_layers: '{part}' is no kind of layer; linear and embedding are those that "
                                 "are quantised, norms and softmax are float32 in every file")

    def _check_scheme(self) -> None:
        """A scheme stands in for dtype and mode; one that says something else than they do is a contradiction."""
        if self.scheme is None:
            return
        word = self.scheme.lower().replace("_", "-")
        if self.dtype is not QuantizationDtype.INT8 and not any(name in word for name in _SAID[self.dtype]):
            raise ValueError(f"scheme is '{self.scheme}' and dtype is {self.dtype.value}, which contradict each other; give one "
                             "of them")
        integers = any(name in word for name in ("int8", "int4"))
        says_static = "static" in word or word.startswith("a16")
        if self.mode is QuantizationMode.STATIC and not says_static:
            raise ValueError(f"scheme is '{self.scheme}' and mode is static, which contradict each other; give one of them")
        if self.mode is QuantizationMode.WEIGHT_ONLY and integers and "weight-only" not in word:
            raise ValueError(f"scheme is '{self.scheme}' and mode is weight_only, which contradict each other; give one of "
                             "them")

    @property
    def quantization(self) -> str:
        """The word for export_checkpoint and "xnnpack"; ValueError for what it does not have."""
        return self.scheme_for("xnnpack")

    def scheme_for(self, backend: str) -> str:
        """The word for export_checkpoint and a backend; ValueError for what that does not have."""
        if self.is_qat:
            raise ValueError("quantisation-aware training is not part of this package; train the checkpoint elsewhere, or "
                             "take rounding='gptq', which makes better codes without training")
        if not self.is_per_channel:
            raise ValueError("is_per_channel=False asks for one scale for a whole matrix, which is not written: leave it "
                             "True for a scale for each row")
        if self.scheme is not None:
            return self.scheme.lower()
        groups = _GROUPS.get(backend, _GROUPS["xnnpack"])
        if self.group_size not in groups and (self.dtype is QuantizationDtype.INT4 or backend == "xnnpack"):
            raise ValueError(f"group_size is {self.group_size!r}; there are {', '.join(map(str, groups[1:]))}, and 0 for one "
                             "scale a row")
        schemes = _SCHEMES.get(backend, _XNNPACK)
        if (self.dtype, self.mode) not in schemes:
            there = "" if backend == "xnnpack" else f" with backend '{backend}'"
            raise ValueError(f"{self.dtype.value} with mode {self.mode.value} cannot be exported{there}; there are "
                             f"{_listed(schemes)}")
        return schemes[self.dtype, self.mode].format(group=f"-g{self.group_size}" if self.group_size else "")

    def as_dtype(self, dtype: QuantizationDtype) -> "QuantizationConfig":
        """With another dtype. ValueError where a scheme stands in for it."""
        if self.scheme is not None:
            raise ValueError(f"the quantiser decides the dtype, and scheme '{self.scheme}' stands in for it; "
                             "BaseQuantizer().quantize takes every scheme")
        return dataclasses.replace(self, dtype=dtype)

    def excluded(self, weights: "List[checkpoint.Weight]") -> "List[checkpoint.Weight]":
        """Those that stay float32 by exclude_layers and preserve_precision_layers."""
        kinds = [kind.lower() for kind in self.preserve_precision_layers]
        return [weight for weight in weights
                if weight.has_one_of(self.exclude_layers) or any(kind in weight.kind for kind in kinds)]


def _listed(schemes: Dict[Tuple[QuantizationDtype, QuantizationMode], str]) -> str:
    modes: Dict[str, List[str]] = {}
    for dtype, mode in schemes:
        modes.setdefault(dtype.value, []).append(mode.value)
    said = [name if name.startswith("fp") else f"{name} with mode {' or '.join(there)}" for name, there in modes.items()]
    return f"{', '.join(said[:-1])}, and {said[-1]}"


def own_mode(backend: str, otherwise: QuantizationMode) -> QuantizationMode:
    """The mode of integers where nobody asks for one: what other backends than "xnnpack" have."""
    return _OWN_MODE.get(backend, otherwise)


def _member(name: str, kind: Any, value: Any) -> Any:
    """A member of an enumeration, by its word in any case or as it is."""
    if isinstance(value, kind):
        return value
    words = [member.value for member in kind]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}; expected one of {', '.join(words)}")
    if value.lower() not in words:
        raise ValueError(f"{name} is '{value}'; there are {', '.join(words)}")
    return kind(value.lower())


def check_parts(name: str, parts: Any) -> None:
    if isinstance(parts, str):
        raise ValueError(f"{name} is a text; give a sequence of texts")
    if isinstance(parts, bytes) or not isinstance(parts, Iterable):
        raise TypeError(f"{name} is {parts!r}, of type {type(parts).__name__}; give a sequence of texts")
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"{name} holds {part!r}, of type {type(part).__name__}; expected texts")
        if not part.strip():
            raise ValueError(f"{name} holds an empty text, which is part of every name; leave it out")


def hinted(kind: Any) -> None:
    """Has the constructor of a dataclass say which keyword was meant."""
    made = kind.__init__
    names = [field.name for field in dataclasses.fields(kind)]

    @functools.wraps(made)
    def __init__(self: Any, *values: Any, **settings: Any) -> None:
        arguments.known_keywords(kind.__name__, settings, names)
        made(self, *values, **settings)

    kind.__init__ = __init__


hinted(QuantizationConfig)


def check_names(config: QuantizationConfig, folder: Path) -> None:
    """ValueError for a part of names that is in none of this model's; the usual ones need not be."""
    names = checkpoint.names_of(folder)
    for setting in ("exclude_layers", "preserve_activation_precision_layers"):
        for part in getattr(config, setting):
            if part.lower() in _EXCLUDED or any(part.lower() in name.lower() for name in names):
                continue
            near = difflib.get_close_matches(part, names, 3, 0.3)
            raise ValueError(f"{setting}: '{part}' is part of no name in this model; the nearest are {', '.join(near)}" if near
                             else f"{setting}: '{part}' is part of no name in this model")


@dataclasses.dataclass
class QuantizationResult:
    """What a quantiser made.

    model     the .pte
    metrics   original_memory_mb (the checkpoint's weights in float32), quantized_memory_mb (of the file's weights, with
              their scales), memory_reduction_mb, memory_reduction_pct, compression_ratio; converted_layers,
              converted_linear_layers, converted_embedding_layers: those that the file stores in less than float32 (with
              other backends than "xnnpack" those that are not excluded, and none of these three with a recipe);
              num_parameters, quantization_time_sec, and quantization, the scheme that the file states. A MB is 2**20 bytes
    warnings  what one should know about the file
    """

    model: Path
    metrics: Dict[str, Any]
    warnings: List[str] = dataclasses.field(default_factory=list)
    success: bool = True           # a failure is an exception
    fallback_used: bool = False    # int4 that does not fit the checkpoint became int8-dynamic


class BaseQuantizer:
    """What all quantisers have in common. One with a dtype decides that itself."""

    dtype: Optional[QuantizationDtype] = None

    def is_available(self) -> bool:
        """Whether quantize can be called: always."""
        return True

    def settings(self, config: Optional[QuantizationConfig]) -> QuantizationConfig:
        """The configuration that quantize works by, made of the one that it was given."""
        config = QuantizationConfig() if config is None else config
        return config if self.dtype is None else config.as_dtype(self.dtype)

    def quantize(self, model: PathLike, config: Optional[QuantizationConfig] = None, *,
                 output_path: Optional[PathLike] = None, **keywords: Any) -> QuantizationResult:
        """Exports a checkpoint as one quantised .pte.

        model        a checkpoint folder, or "org/name" in the Hugging Face cache. It is only read
        config       None: the quantiser's defaults
        output_path  None: NAME-SCHEME.pte in the current folder, with the checkpoint's name; NAME-BACKEND-SCHEME.pte for
                     other backends than "xnnpack"
        keywords     of export_checkpoint: max_seq_len, max_rows, validate, progress, ... Those that are settings as well
                     (calibration_samples, rounding, ...), and settings by their names here (group_size, exclude_layers,
                     ...), count instead of the configuration's. quantization and quantization_config are scheme and recipe;
                     exclude is added to what the configuration excludes

        TypeError for anything but a folder's name, ValueError for settings that cannot be exported; else the exceptions of
        export_checkpoint.
        """
        if config is None:
            config = QuantizationConfig(mode=own_mode(keywords.get("backend", "xnnpack"), QuantizationMode.DYNAMIC))
        config, rest = with_keywords(config, keywords)
        return export_quantised(model, self.settings(config), output_path, rest)


def with_keywords(config: QuantizationConfig, keywords: Dict[str, Any]) -> Tuple[QuantizationConfig, Dict[str, Any]]:
    """The configuration with those keywords that are settings, and the others."""
    from ..export.native import export_checkpoint
    if not isinstance(config, QuantizationConfig):
        raise TypeError(f"config is {config!r}, of type {type(config).__name__}; expected a QuantizationConfig, or None")
    names = {field.name: field.name for field in dataclasses.fields(config) if field.name not in ("dtype", "mode")}
    names.update(quantization="scheme", quantization_config="recipe")
    others = [name for name in inspect.signature(export_checkpoint).parameters if name not in ("model_path", "output_path")]
    arguments.known_keywords("quantising", keywords, [*names, *others])
    settings: Dict[str, Any] = {}
    rest = dict(keywords)
    for keyword, name in names.items():
        if keyword not in rest:
            continue
        if name in settings:
            raise ValueError(f"{keyword} and {name} are the same; give one of them")
        settings[name] = rest.pop(keyword)
    return dataclasses.replace(config, **settings), rest


def export_quantised(model: PathLike, config: QuantizationConfig, output_path: Optional[PathLike],
                     keywords: Dict[str, Any]) -> QuantizationResult:
    """What BaseQuantizer.quantize does, with settings that are final."""
    import tempfile

    from ..export.native import export_checkpoint
    backend = keywords.get("backend", "xnnpack")
    if keywords.get("emit") not in (None, "pte"):
        raise ValueError("quantising makes a .pte; export_checkpoint takes emit")
    folder = checkpoint.folder_of(model)
    if output_path is not None:
        arguments.a_path("output_path", output_path)
    asked = config.scheme_for(backend)
    word: Optional[str] = asked
    check_names(config, folder)
    weights = checkpoint.weights_of(folder)
    excluded = [] if _has_no_floats(config, backend, asked) else config.excluded(weights)
    recipe = config.recipe
    notes: List[str] = []
    keywords = dict(keywords)
    more, listener = keywords.pop("exclude", ()), arguments.a_function("notice", keywords.pop("notice", None))
    patterns = [weight.pattern for weight in excluded] + ([more] if isinstance(more, str) else list(more) if isinstance(more, Iterable) else [more])

    def notice(sentence: str) -> None:
        notes.append(sentence)
        if listener is not None:
            listener(sentence)

    with tempfile.TemporaryDirectory(prefix="diffulex-edge-") as scratch:
        if recipe is not None:
            if tuple(config.preserve_activation_precision_layers) != _KEEPS_LM_HEAD:
                raise ValueError("a recipe says which layers have float activations (int8-weight-only); leave "
                                 "preserve_activation_precision_layers out")
            text, recipe = _read_recipe(Path(recipe), Path(scratch))
            named = _default_of(text)
            static, word, name = "static" in text.lower(), None if named else word, (named or word or "").lower()
        else:
            assert word is not None
            kept = _float_activations(config, word, [weight for weight in weights if weight not in excluded])
            static, name = "static" in word, word
            if kept:
                recipe = Path(scratch) / "recipe.json"
                recipe.write_text(json.dumps({"tensors": [{"pattern": weight.pattern, "scheme": "int8-weight-only"}
                                                          for weight in kept]}), encoding="utf-8")
        of = name if backend == "xnnpack" else f"{backend}-{name}"
        path = Path(output_path) if output_path is not None else Path(f"{folder.resolve().name}-{of}.pte")
        static = static or "static" in (word or "") or (backend == "qnn" and name.replace("_", "-") not in ("fp16", "float16"))
        calibrates = (static and config.ranges is None) or config.rounding not in (None, "nearest", "mse")
        statistics = export_checkpoint(
            folder, path, quantization=word, quantization_config=recipe, exclude=patterns,
            rounding=config.rounding, calibration=config.calibration, calibration_length=config.calibration_length,
            calibration_samples=config.calibration_samples if calibrates else 0,
            calibration_seed=config.calibration_seed, observer=config.observer, ranges=config.ranges,
            notice=notice, **keywords)
    kept_floats = None if config.recipe is not None else excluded
    return QuantizationResult(path, _metrics(weights, kept_floats, folder, path, statistics), notes)


def _has_no_floats(config: QuantizationConfig, backend: str, word: str) -> bool:
    """Whether the default of exclude_layers means nothing, because no layer can be float beside integers."""
    default = next(field.default for field in dataclasses.fields(config) if field.name == "exclude_layers")
    return backend == "qnn" and word not in ("fp16", "float16") and config.exclude_layers == default


_SILENCE = 10       # seconds that the library waits for a pipe


def _read_recipe(path: Path, scratch: Path) -> Tuple[str, Path]:
    """Its text, and the path of a file that has it. What can be read only once is kept in the folder scratch."""
    import select
    if path.is_file():
        return path.read_text(encoding="utf-8-sig", errors="replace"), path
    if not path.exists():
        raise FileMissingError(f"there is no recipe '{path}'")
    parts: List[bytes] = []
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)   # does not wait for somebody who writes
    try:
        while not parts or parts[-1]:
            if not select.select([pipe], [], [], _SILENCE)[0]:
                raise OSError(f"nothing came from '{path}' for {_SILENCE} seconds; is it a pipe that somebody writes to?")
            parts.append(os.read(pipe, 1 << 20))
    finally:
        os.close(pipe)
    kept = scratch / "recipe"
    kept.write_bytes(b"".join(parts))
    return _read_recipe(kept, scratch)


def _default_of(recipe: str) -> str:
    """The scheme that a recipe names; "" where it does not, or is none, which the export says."""
    try:
        named = json.loads(recipe).get("default")
    except (ValueError, AttributeError):
        return ""
    return named if isinstance(named, str) else ""


def _float_activations(config: QuantizationConfig, word: str,
                       weights: "List[checkpoint.Weight]") -> "List[checkpoint.Weight]":
    """Layers that the scheme would multiply with quantised activations, but the configuration with floats."""
    scheme = word.lower().replace("_", "-")
    if scheme.startswith("a16") and tuple(config.preserve_activation_precision_layers) != _KEEPS_LM_HEAD:
        raise ValueError(f"with {word} every layer's activations are on grids of 16 bits; leave "
                         "preserve_activation_precision_layers out")
    if not any(part in scheme for part in ("int8", "int4")) or "weight-only" in scheme:
        return []
    kept = [weight for weight in weights
            if weight.kind == "linear" and weight.has_one_of(config.preserve_activation_precision_layers)]
    for weight in kept:
        if "int4" in scheme and not weight.is_head:
            raise ValueError(f"'{weight.name}' cannot have {word} and float activations, which 4-bit weights are not "
                             "multiplied with; exclude it, or give it int8-weight-only in a recipe")
    return kept


def _metrics(weights: "List[checkpoint.Weight]", excluded: "Optional[List[checkpoint.Weight]]", folder: Path, path: Path,
             statistics: Any) -> Dict[str, Any]:
    from ..session import inspect as describe
    report = describe(path)
    elements = checkpoint.elements_of(folder)
    before, after = 4 * elements / checkpoint.MIB, checkpoint.weight_bytes(report) / checkpoint.MIB
    converted: Dict[str, int] = {}
    if "linears" in report:
        linear = sum(kind["layers"] for kind in report["linears"] if kind["kind"] != "f32-f32w")
        converted = _converted(linear, int(not checkpoint.float_table(report)))
    elif excluded is not None:      # what a delegate of another backend holds cannot be seen: as it was asked for
        left = [weight.kind for weight in weights if weight not in excluded]
        converted = _converted(left.count("linear"), left.count("embedding"))
    return {
        "original_memory_mb": before, "quantized_memory_mb": after, "memory_reduction_mb": before - after,
        "memory_reduction_pct": 100 * (before - after) / before, "compression_ratio": before / after,
        **converted, "num_parameters": elements, "quantization_time_sec": statistics.seconds, "quantization": statistics.quantization,
    }


def _converted(linear: int, embedding: int) -> Dict[str, int]:
    return {"converted_layers": linear + embedding, "converted_linear_layers": linear,
            "converted_embedding_layers": embedding}


def get_model_size_info(model: Union[PathLike, QuantizationResult]) -> Tuple[float, float, float]:
    """(param_size_mb, buffer_size_mb, total_size_mb) of the weights, a MB being 2**20 bytes.

    model   a checkpoint folder, whose weights all count as float32 parameters; or a .pte, where what is float32 are
            parameters and quantised weights, with their scales, are buffers, as in the original's modules. Delegates of other
            backends than "xnnpack" count whole, with their instructions, as buffers
    """
    path = model.model if isinstance(model, QuantizationResult) else arguments.a_path("model", model, needed=True)
    return checkpoint.sizes_of(path)
