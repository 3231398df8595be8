"""Exporting with the C library: dlx_export as a Python function."""
import contextlib
import importlib.util
import json
import os
import tempfile
from ctypes import byref, c_int32, c_void_p
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .. import _native, arguments, running
from .._native import PathLike
from .calls import call_with_stages, tell
from .validation import Validation, options_of, validation_of

__all__ = ["Backend", "ExportStatistics", "KvForm", "Placement", "Scheme", "Soc", "check_backend", "export_backends",
           "export_checkpoint", "export_kv_forms", "export_schemes", "export_socs"]


class Placement(NamedTuple):
    """Where the nodes of one operator went, in one method of the program."""

    method: str
    home: str                # the backend whose delegates compute them; "xnnpack" takes what others leave; "operators": the
                             # runtime's own, without a delegate
    op: str                  # of the model's graph: "LINEAR", "EMBEDDING"
    nodes: int
    constant_bytes: int      # that they read; what several of a home read is counted for the first of them
    multiply_adds: int       # of matrix products, in a call of the most rows behind the most positions
    delegates: int           # that the home has in the method: the same in all of its rows


class ExportStatistics(NamedTuple):
    """What an export wrote."""

    file_bytes: int
    quantised_bytes: int     # quantised weights, without their scales
    float_bytes: int         # constants that stayed float
    seconds: float
    quantised_tensors: int
    float_tensors: int
    quantization: str        # what the file says: the scheme, and "mixed" behind it where parts differ from it
    validation: Optional[Validation] = None     # with validate=True
    kv: str = ""             # the form of the cache
    placements: Tuple[Placement, ...] = ()      # which operators went where


class Backend(NamedTuple):
    """A backend that checkpoints are exported to."""

    name: str
    aliases: Tuple[str, ...]   # other names
    help: str                  # what it writes, for which machines


class Scheme(NamedTuple):
    """A quantisation scheme that checkpoints are exported with."""

    name: str
    aliases: Tuple[str, ...]   # other names
    backends: Tuple[str, ...]  # names of the backends that can write it
    help: str                  # what becomes of weights and activations


class KvForm(NamedTuple):
    """Who keeps keys and values between the calls of a program."""

    name: str
    help: str                  # for whom that is


class Soc(NamedTuple):
    """A chip that backend "qnn" writes for."""

    name: str
    known_as: str              # what is sold with it
    id: int                    # Qualcomm's number of it, which files name it by
    generation: int            # of its HTP: 75
    schemes: Tuple[str, ...]   # of quantisation that it has


def _names(text: bytes) -> Tuple[str, ...]:
    return tuple(name.strip() for name in text.decode().split(",") if name.strip())


def export_backends() -> List[Backend]:
    """Every backend of this build; the first is the default."""
    rows: List[Backend] = []
    library, info = _native.library(), _native.BackendInfo()
    while library.dlx_export_backend_info(len(rows), byref(info)):
        rows.append(Backend(info.name.decode(), _names(info.aliases), info.help.decode()))
    return rows


def export_schemes() -> List[Scheme]:
    """Every quantisation scheme of this build; the first is the default."""
    rows: List[Scheme] = []
    library, info = _native.library(), _native.SchemeInfo()
    while library.dlx_export_scheme_info(len(rows), byref(info)):
        rows.append(Scheme(info.name.decode(), _names(info.aliases), _names(info.backends), info.help.decode()))
    return rows


def export_kv_forms() -> List[KvForm]:
    """Every form of the KV cache that programs can have; the first is the default."""
    rows: List[KvForm] = []
    library, info = _native.library(), _native.KvInfo()
    while library.dlx_export_kv_info(len(rows), byref(info)):
        rows.append(KvForm(info.name.decode(), info.help.decode()))
    return rows


def export_socs() -> List[Soc]:
    """Every chip that backend "qnn" writes for."""
    rows: List[Soc] = []
    library, info = _native.library(), _native.SocInfo()
    while library.dlx_export_soc_info(len(rows), byref(info)):
        rows.append(Soc(info.name.decode(), info.known_as.decode(), info.id, info.generation, _names(info.schemes)))
    return rows


def check_backend(backend: str = "xnnpack", *, quantization: Optional[str] = None, kv: Optional[str] = None,
                  delegate_layers: int = 0, minimum_deployment_target: Optional[str] = None,
                  compute_units: Optional[str] = None, emit: Optional[str] = None, soc: Optional[str] = None,
                  qnn_lib_dir: Optional[PathLike] = None) -> str:
    """Whether export_checkpoint could write with these of its keywords, on this machine: what it would raise because of
    them is raised, UnsupportedError where something has to be installed, with what. Needs no checkpoint. Returns a line about
    what an export would use, "QNN v2.47.0 in /folder"; "" for a backend that needs nothing."""
    _check_choices(dict(locals()))
    options = _native.ExportOptions()
    _choose(options, backend, quantization, kv, delegate_layers, minimum_deployment_target, compute_units, emit, soc,
            qnn_lib_dir)
    found = c_void_p()
    _native.call("dlx_export_backend_check", byref(options), byref(found))
    return _native.take_bytes(found).decode("utf-8", "replace")


def _choose(options: _native.ExportOptions, backend: str, quantization: Optional[str], kv: Optional[str],
            delegate_layers: int, minimum_deployment_target: Optional[str], compute_units: Optional[str],
            emit: Optional[str], soc: Optional[str], qnn_lib_dir: Optional[PathLike]) -> None:
    options.backend = backend.encode()
    options.quantization = _native.optional_text(quantization)
    options.kv = _native.optional_text(kv)
    options.delegate_layers = delegate_layers
    options.minimum_deployment_target = _native.optional_text(minimum_deployment_target)
    options.compute_units = _native.optional_text(compute_units)
    options.emit = _native.optional_text(emit)
    options.soc = _native.optional_text(soc)
    if backend.lower() == "qnn":
        qnn_lib_dir = _qnn_libraries() if qnn_lib_dir is None else qnn_lib_dir
    options.qnn_lib_dir = _native.optional_path(qnn_lib_dir)


def _qnn_libraries() -> Optional[PathLike]:
    """The folder of this interpreter's onnxruntime-qnn, which need not be that of a shell's Python, where the library
    looks; None where there is none, or a development kit is named."""
    if os.environ.get("QNN_SDK_ROOT"):
        return None
    try:
        package = importlib.util.find_spec("onnxruntime_qnn")
    except (ImportError, ValueError):
        return None
    folders = (package.submodule_search_locations or ()) if package else ()
    return next((folder for folder in folders if os.path.isfile(os.path.join(folder, "libQnnHtp.so"))), None)


def export_checkpoint(model_path: PathLike, output_path: PathLike, *, backend: str = "xnnpack",
                      quantization: Optional[str] = None, model_type: Optional[str] = None, max_seq_len: int = 0,
                      max_rows: int = 0, block_size: int = 0, mask_id: int = 0, chat_template: Optional[PathLike] = None,
                      quantization_config: Union[PathLike, Mapping[str, Any], None] = None,
                      exclude: Union[str, Iterable[str]] = (),
                      rounding: Optional[str] = None,
                      calibration: Union[PathLike, Sequence[Mapping[str, Any]], None] = None,
                      calibration_samples: int = 0, calibration_length: int = 0, calibration_seed: int = 0,
                      work_folder: Optional[PathLike] = None, kv: Optional[str] = None,
                      observer: Optional[str] = None, ranges: Optional[PathLike] = None,
                      save_ranges: Optional[PathLike] = None, method_rows: Iterable[int] = (),
                      delegate_layers: int = 0, minimum_deployment_target: Optional[str] = None,
                      compute_units: Optional[str] = None, emit: Optional[str] = None, soc: Optional[str] = None,
                      qnn_lib_dir: Optional[PathLike] = None,
                      validate: bool = False, validation: Optional[PathLike] = None, validation_samples: int = 0,
                      validation_length: int = 0,
                      progress: Optional[Callable[[int, int], Optional[bool]]] = None,
                      stage: Optional[Callable[[str, int, int], Optional[bool]]] = None,
                      notice: Optional[Callable[[str], Any]] = None) -> ExportStatistics:
    """Exports a Hugging Face checkpoint folder as one .pte.

    model_path     checkpoint folder, or "org/name" looked up read-only in the Hugging Face cache
    output_path    written under a temporary name beside it, renamed when it is complete
    backend        a name of export_backends()
    quantization   a name of export_schemes(); None: the first that the backend writes: int8-dynamic, int8-weight-only with
                   "coreml", a16w8 with "qnn". "none" keeps the weights in float32
    model_type     family that overrides config.json: "llada", "dream", "sdar", "fast_dllm_v2"
    max_seq_len    positions of the program; 0: the checkpoint's, at most 2048
    max_rows       rows one call may run; 0: max_seq_len (with kv "explicit", where every call has as many: a block)
    block_size     overrides the checkpoint's block length; 0: as in the files
    mask_id        the mask token, where config.json and the tokenizer disagree; 0: as in the files
    chat_template  in place of the checkpoint's: the name of one of its templates, a file with Jinja text, or "none"
    quantization_config   a JSON file, or what would stand in it as a dict, that gives the head, the embedding or single tensors other forms than the scheme
                   does (docs/QUANTIZATION.md); its "default" stands in for quantization
    exclude        names of weights that stay float32, in the checkpoint or ours ("lm_head", "layers.0.down"), with * and
                   ? standing for any text and any character
    rounding       how weights become int8 or int4: None or "nearest", each on its own; "mse", with scales that miss
                   them least; "gptq", so that answers to calibration data change least; "awq", inputs of layers scaled
                   by what that data makes of them; "awq-gptq", both; "smooth", scaled for the grids of int8-static, for
                   which None is that unless ranges are read or saved
    calibration    that data: a file of JSON lines (docs/EXPORT.md), or a list of dicts like its lines; None: the model writes it
    calibration_samples, calibration_length   how many samples, and most tokens of one; 0: 64, 256
    calibration_seed   of masks, and of what the model writes
    work_folder    where an interrupted gptq goes on from, until the file is complete; None: output_path + ".work"
    observer       which range of the numbers in calibration data int8-static stands for: "mse", the one that misses them
                   least; "minmax", all; "percentile", all but 0.005 % at either end; None: "minmax" with rounding
                   "smooth", else "mse"
    ranges         a file that an earlier export wrote to save_ranges, in place of measuring: of int8-static, or of integers
                   with "qnn"
    method_rows    for each of these numbers of rows a further method of the same weights, forward_ROWS (docs/EXPORT.md)
    kv             a name of export_kv_forms(); None: "caller", or "fixed-fp16" with "coreml" and "qnn"; "fixed-state" keeps the
                   cache in Core ML
    delegate_layers   "coreml", "qnn": decoder layers of one delegate at most; 0: all in one
    minimum_deployment_target   "coreml": the oldest system that is to run the file, "iOS16", "iOS17" or "iOS18", the default
    compute_units  "coreml": what it may run on: "cpu_only", "cpu_and_gpu", "cpu_and_ne", the default, or "all"
    emit           "coreml": "mlpackage" writes the model package alone, a folder, for programs that load it without
                   ExecuTorch; None: "pte"
    soc            "qnn": the chip that the file is for, a name of export_socs() in either case; None: "SM8650"
    qnn_lib_dir    "qnn": a folder of Qualcomm's libraries; None: the kit or folder that $QNN_SDK_ROOT names, else the
                   package onnxruntime-qnn of this interpreter, or of another Python that a shell would start
    validate       then runs the file against the checkpoint in float32, as validate_export does: the result's validation.
                   What is wrong with its options and data is told before anything is written; where it fails itself, the
                   file is in place, and the exception says so
    validation     samples for it, a file like that of calibration; None: that file, or, without one, the model writes them
    validation_samples, validation_length   how many samples, and most tokens of one; 0: 20, and 256 or what a call takes
    progress       called as progress(done, total) in bytes of output; returning False cancels (Cancelled)
    stage          called as stage(name, done, total) in rows of calibration data, before that, and of samples to validate
                   with; total 0: not known
    notice         called behind the export with each sentence that one should know about the file; None: a UserWarning

    FileNotFoundError when there is no such checkpoint, ValueError for wrong arguments, RuntimeError (FormatError,
    UnsupportedError) for a checkpoint that is damaged or not covered, OSError when the file cannot be written. An
    existing file at output_path stays as it was on any failure, but for that of a validation behind the export.
    """
    given = dict(locals())
    _check(given)
    if not validate and (validation is not None or validation_samples or validation_length):
        raise ValueError("validation, validation_samples and validation_length are for validate=True")
    options = _native.ExportOptions()
    options.model_path = _native.encode_path(model_path)
    options.output_path = _native.encode_path(output_path)
    _choose(options, backend, quantization, kv, delegate_layers, minimum_deployment_target, compute_units, emit, soc,
            qnn_lib_dir)
    options.model_type = _native.optional_text(model_type)
    options.max_seq_len, options.max_rows, options.block_size = max_seq_len, max_rows, block_size
    options.mask_id = mask_id
    options.chat_template = _native.optional_path(chat_template)
    patterns = arguments.texts("exclude", exclude, "texts, patterns of weights' names", "a pattern of exclude")
    options.exclude = ",".join(patterns).encode() if patterns else None
    options.rounding = _native.optional_text(rounding)
    options.calibration_samples, options.calibration_length = calibration_samples, calibration_length
    options.calibration_seed = calibration_seed
    options.work_folder = _native.optional_path(work_folder)
    options.observer = _native.optional_text(observer)
    options.ranges = _native.optional_path(ranges)
    options.save_ranges = _native.optional_path(save_ranges)
    rows = _rows(method_rows)
    options.method_rows, options.n_method_rows = (c_int32 * len(rows))(*rows), len(rows)
    how = options_of(validation, validation_samples, validation_length, calibration_seed + 1) if validate else None
    notices: List[bytes] = []
    with contextlib.ExitStack() as files:
        options.quantization_config = _path_of(files, "quantization_config", quantization_config)
        options.calibration = _path_of(files, "calibration", calibration)
        statistics: ExportStatistics = running.run(lambda job: _export(job, options, how, progress, stage, notices))
    tell(notices, notice)
    return statistics


def _are_lines(calibration: Any) -> bool:
    if not isinstance(calibration, (list, tuple)):
        return False
    for line in calibration:
        if not isinstance(line, Mapping):
            raise TypeError(f"calibration has {line!r}; expected objects like the lines of a file")
    return True


def _path_of(files: contextlib.ExitStack, name: str, value: Any) -> Optional[bytes]:
    """A path as it is; objects as a file with a line for each, which is gone when `files` are."""
    if not isinstance(value, (Mapping, list, tuple)):
        return _native.optional_path(value)
    try:
        lines = [json.dumps(line) + "\n" for line in ([value] if isinstance(value, Mapping) else value)]
    except (TypeError, ValueError) as problem:
        raise TypeError(f"{name} cannot be written as JSON: {problem}") from None
    path = os.path.join(files.enter_context(tempfile.TemporaryDirectory(prefix="diffulex-edge-")), f"{name}.json")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)
    return _native.encode_path(path)


_CHOICES = ("quantization", "kv", "minimum_deployment_target", "compute_units", "emit", "soc")
_NUMBERS = ("max_seq_len", "max_rows", "block_size", "mask_id", "calibration_samples", "calibration_length",
            "validation_samples", "validation_length")
_TEXTS = ("model_type", "rounding", "observer")
_PATHS = ("chat_template", "work_folder", "ranges", "save_ranges", "validation")
_MOST_SEED = (1 << 62) - 1


def _check_choices(given: Dict[str, Any]) -> None:
    """Those that decide who is to run the file."""
    if arguments.a_text("backend", given["backend"]) is None:
        raise TypeError("backend is None; expected a name of export_backends()")
    for name in _CHOICES:
        arguments.a_text(name, given[name])
    arguments.a_number("delegate_layers", given["delegate_layers"])
    arguments.a_path("qnn_lib_dir", given["qnn_lib_dir"])


def _check(given: Dict[str, Any]) -> None:
    """Types and sizes of arguments; whether words and numbers mean something, the library says."""
    _check_choices(given)
    for name in _NUMBERS:
        arguments.a_number(name, given[name])
    arguments.a_number("calibration_seed", given["calibration_seed"], _MOST_SEED)
    for name in _TEXTS:
        arguments.a_text(name, given[name])
    for name in _PATHS:
        arguments.a_path(name, given[name])
    if not isinstance(given["quantization_config"], Mapping):
        arguments.a_path("quantization_config", given["quantization_config"])
    if not _are_lines(given["calibration"]):
        arguments.a_path("calibration", given["calibration"])
    for name in ("model_path", "output_path"):
        arguments.a_path(name, given[name], needed=True)
    for name in ("progress", "stage", "notice"):
        arguments.a_function(name, given[name])
    arguments.a_flag("validate", given["validate"])


def _rows(method_rows: Any) -> List[int]:
    if isinstance(method_rows, (str, bytes)) or not isinstance(method_rows, Iterable):
        raise TypeError(f"method_rows is {method_rows!r}; expected whole numbers")
    return [arguments.a_number("an entry of method_rows", n) for n in method_rows]


def _export(job: running.Job, options: _native.ExportOptions, how: Optional[_native.ValidateOptions],
            progress: Optional[Callable[[int, int], Optional[bool]]],
            stage: Optional[Callable[[str, int, int], Optional[bool]]], notices: List[bytes]) -> ExportStatistics:
    failure: List[BaseException] = []
    # Always installed, so that Ctrl-C is noticed while weights are written.
    options.progress = _native.PROGRESS_FN(
        lambda _, done, total: job.allows(failure.append, progress, lambda: (done, total)))
    options.notice = _native.NOTICE_FN(lambda _, sentence: notices.append(sentence))
    placements: List[Placement] = []

    def placed(_: Any, row: Any) -> None:
        row = row.contents
        placements.append(Placement(row.method.decode(), row.home.decode(), row.op.decode(), row.count, row.constant_bytes,
                                    row.multiply_adds, row.delegates))

    options.placement = _native.PLACEMENT_FN(placed)
    result, found = _native.ExportResult(), _native.Validation()
    if how is None:
        call_with_stages(job, "dlx_export", [options], [result], stage, failure)
    else:
        call_with_stages(job, "dlx_export_validated", [options, how], [result, found], stage, failure)
    values = {name: getattr(result, name) for name in ExportStatistics._fields
              if name not in ("quantization", "validation", "kv", "placements")}
    return ExportStatistics(**values, quantization=result.quantization.decode(), kv=result.kv.decode(), placements=tuple(placements),
                            validation=None if how is None else validation_of(found))
