"""The C library through ctypes: every public structure and function, and the search for the shared library.

This is the only module that knows memory layouts. It mirrors include/diffulex_edge/*.h (ABI version 2); structures that
carry struct_size are created with it set. ctypes gives up the interpreter lock during every call.

The library is looked for when it is first needed, in this order:
  1. the file that the environment variable DLX_LIBRARY names (nothing else is tried then);
  2. the build folder that DLX_BUILD_DIR names, and its subfolder src (nothing else is tried then);
  3. the folder of this package and its lib folders, and the files of the installed distribution;
  4. build folders of the source tree that this file lies in;
  5. what the system's loader finds.
"""
import ctypes
import ctypes.util
import functools
import operator
import os
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple, Union

from .errors import LibraryNotFoundError, UnsupportedError, error_from_status

__all__ = ["API_VERSION", "PathLike", "call", "check", "encode_path", "library", "take_bytes", "take_ids"]

# What paths are given as.
PathLike = Union[str, os.PathLike[str]]

# What open files are given as: a number, or something with fileno().
Descriptor = Union[int, Any]

API_VERSION = 3
MAX_STOP_IDS = 16
MAX_CONTEXT_SPANS = 2
TENSOR_MAX_RANK = 6

OK, E_INTERNAL, E_CANCELLED = 0, 8, 7


# ---- structures ------------------------------------------------------------------------------------------------------

class Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("message", c_char * 512)]


class Sized(ctypes.Structure):
    """A structure that begins with struct_size. Zero is every other member's default. Elements of an array are not
    created one by one: theirs is set by whoever makes the array."""

    def __init__(self, *arguments: Any, **members: Any) -> None:
        super().__init__(*arguments, **members)
        self.struct_size = ctypes.sizeof(self)


class ModelFacts(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("family", c_int), ("vocab_size", c_int32), ("max_context", c_int32),
        ("max_rows", c_int32), ("mask_id", c_int32), ("attn_block", c_int32), ("logits_shift", c_int32),
        ("block_length", c_int32), ("small_block_size", c_int32), ("bos_id", c_int32), ("eos_id", c_int32),
        ("pad_id", c_int32), ("num_tokens", c_int32), ("num_stop_ids", c_int32),
        ("stop_ids", c_int32 * MAX_STOP_IDS), ("rounded_bits", c_int64),
    ]


class Span(ctypes.Structure):
    _fields_ = [("begin", c_int32), ("end", c_int32)]


class RowSummary(ctypes.Structure):
    _fields_ = [
        ("id", c_int32), ("logit", c_float), ("top", c_float), ("second", c_float), ("sum", c_double), ("moment", c_double),
    ]


class ForwardCall(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("ids", POINTER(c_int32)), ("n_ids", c_int32), ("start", c_int32),
        ("context", Span * MAX_CONTEXT_SPANS), ("n_context", c_int32), ("attn_block", c_int32), ("n_store", c_int32),
        ("rows", POINTER(c_int32)), ("n_rows", c_int32), ("logits", POINTER(c_float)),
        ("never", c_int32), ("known", c_int32), ("summaries", POINTER(RowSummary)),
        ("with_logits", c_int64),
    ]


class OptionInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("name", c_char_p), ("kind", c_char_p), ("algorithms", c_char_p), ("help", c_char_p),
        ("words", c_char_p), ("same_as", c_char_p), ("min", c_double), ("max", c_double),
    ]


class Accepted(ctypes.Structure):
    _fields_ = [("position", c_int32), ("id", c_int32), ("confidence", c_float)]


class Step(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("block", c_int32), ("start", c_int32), ("rows", c_int32), ("cached", c_int32),
        ("n_accepted", c_size_t), ("accepted", POINTER(Accepted)), ("milliseconds", c_double),
    ]


ALLOC_FN = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
FREE_FN = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t)


class Allocator(ctypes.Structure):
    _fields_ = [("alloc", ALLOC_FN), ("free", FREE_FN), ("ctx", c_void_p)]


class ModelOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("threads", c_int32), ("cpu", c_char_p), ("allocator", POINTER(Allocator)),
        ("pool", c_void_p), ("pack_cache", c_char_p),
    ]


class WorkspaceOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("max_rows", c_int32), ("max_context", c_int32), ("max_sessions", c_int32),
        ("kv_positions", c_int32), ("kv_type", c_char_p),
    ]


class MethodOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("threads", c_int32), ("cpu", c_char_p), ("allocator", POINTER(Allocator)),
        ("pool", c_void_p),
    ]


class TensorInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("name", c_char_p), ("element", c_int32), ("rank", c_int32),
        ("size", c_int64 * TENSOR_MAX_RANK), ("dynamic", c_uint64),
    ]


class Tensor(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("element", c_int32), ("rank", c_int32), ("size", c_int64 * TENSOR_MAX_RANK),
        ("data", c_void_p),
    ]


class FixedProgram(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("facts", POINTER(ModelFacts)), ("layers", c_int32), ("kv_heads", c_int32),
        ("head_dim", c_int32), ("element", c_int32), ("n_methods", c_size_t), ("method_rows", POINTER(c_int32)),
        ("method_names", POINTER(c_char_p)), ("keeps_cache", c_uint64),
    ]


class BatcherOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("max_wait_us", c_int64)]


class BatcherCounts(Sized):
    _fields_ = [("struct_size", c_size_t), ("passes", c_int64), ("shared", c_int64), ("calls", c_int64), ("rows", c_int64)]


class Memory(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("file", c_uint64), ("packed", c_uint64), ("kv_cache", c_uint64),
        ("activations", c_uint64),
        ("program", c_uint64), ("shared", c_uint64),
    ]


class ChatMessage(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("role", c_char_p), ("content", c_char_p), ("tool_calls", c_char_p),
        ("reasoning_content", c_char_p), ("more", c_char_p),
    ]


class ChatOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("add_generation_prompt", c_bool), ("enable_thinking", c_int), ("tools", c_char_p),
        ("template_kwargs", c_char_p), ("documents", c_char_p), ("chat_template", c_char_p),
    ]


PROGRESS_FN = CFUNCTYPE(c_bool, c_void_p, c_uint64, c_uint64)
NOTICE_FN = CFUNCTYPE(None, c_void_p, c_char_p)
STAGE_FN = CFUNCTYPE(c_bool, c_void_p, c_char_p, c_uint64, c_uint64)
FORWARD_FN = CFUNCTYPE(c_int, c_void_p, POINTER(ForwardCall), POINTER(Error))
RUN_FN = CFUNCTYPE(c_int, c_void_p, c_size_t, POINTER(c_void_p), POINTER(Error))
STEP_FN = CFUNCTYPE(c_bool, c_void_p, POINTER(Step), POINTER(c_int32), c_size_t)
TEXT_FN = CFUNCTYPE(c_bool, c_void_p, c_void_p, c_size_t)  # the text as an address: it may hold NUL characters


class CompletionOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("decode", c_void_p), ("tokenizer", c_void_p), ("session", c_void_p),
        ("stop", POINTER(c_char_p)), ("n_stop", c_size_t), ("keep_special", c_bool), ("on_text", TEXT_FN),
        ("text_ctx", c_void_p), ("on_step", STEP_FN), ("step_ctx", c_void_p), ("fixed", c_void_p),
    ]


class ConstraintOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("max_bytes", c_int64), ("max_depth", c_int64)]


class ConstraintInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("bytes", c_int64), ("states", c_int64), ("classes", c_int64), ("tokens", c_int64),
        ("sets", c_int64), ("depth", c_int64),
    ]


class Statistics(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("prompt_tokens", c_int32), ("cached_tokens", c_int32), ("new_tokens", c_int32),
        ("forwards", c_int32), ("prefill_forwards", c_int32), ("blocks", c_int32), ("rows", c_int64),
        ("cached_rows", c_int64), ("prefill_ms", c_double), ("decode_ms", c_double),
    ]


class Placement(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("method", c_char_p), ("home", c_char_p), ("op", c_char_p), ("count", c_uint64),
        ("constant_bytes", c_uint64), ("multiply_adds", c_uint64), ("delegates", c_uint64),
    ]


PLACEMENT_FN = CFUNCTYPE(None, c_void_p, POINTER(Placement))


class ExportOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("model_path", c_char_p), ("output_path", c_char_p), ("backend", c_char_p),
        ("quantization", c_char_p), ("model_type", c_char_p), ("max_seq_len", c_int32), ("max_rows", c_int32),
        ("block_size", c_int32), ("progress", PROGRESS_FN), ("progress_ctx", c_void_p),
        ("notice", NOTICE_FN), ("notice_ctx", c_void_p), ("mask_id", c_int64),
        ("chat_template", c_char_p), ("quantization_config", c_char_p), ("exclude", c_char_p),
        ("rounding", c_char_p), ("calibration", c_char_p), ("work_folder", c_char_p), ("stage", STAGE_FN),
        ("stage_ctx", c_void_p), ("calibration_seed", c_int64), ("calibration_samples", c_int64),
        ("calibration_length", c_int64), ("kv", c_char_p), ("observer", c_char_p), ("ranges", c_char_p),
        ("save_ranges", c_char_p), ("method_rows", POINTER(c_int32)), ("n_method_rows", c_size_t),
        ("delegate_layers", c_int32), ("minimum_deployment_target", c_char_p), ("compute_units", c_char_p),
        ("emit", c_char_p), ("soc", c_char_p), ("qnn_lib_dir", c_char_p), ("placement", PLACEMENT_FN),
        ("placement_ctx", c_void_p),
    ]


class ExportResult(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("file_bytes", c_uint64), ("quantised_bytes", c_uint64), ("float_bytes", c_uint64),
        ("seconds", c_double), ("quantised_tensors", c_int32), ("float_tensors", c_int32),
        ("quantization", c_char * 64), ("kv", c_char * 32),
    ]


class ValidateOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("model_path", c_char_p), ("file_path", c_char_p), ("samples", c_char_p),
        ("count", c_int64), ("length", c_int64), ("seed", c_int64), ("stage", STAGE_FN), ("stage_ctx", c_void_p),
        ("model_type", c_char_p), ("block_size", c_int64), ("mask_id", c_int64),
    ]


class QuantizeReportOptions(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("model_path", c_char_p), ("model_type", c_char_p), ("block_size", c_int32),
        ("mask_id", c_int32), ("calibration", c_char_p), ("count", c_int64), ("length", c_int64), ("seed", c_int64),
        ("max_bytes", c_uint64), ("max_error", c_double), ("recipe_path", c_char_p), ("stage", STAGE_FN),
        ("stage_ctx", c_void_p), ("rounding", c_char_p), ("work_folder", c_char_p), ("notice", NOTICE_FN),
        ("notice_ctx", c_void_p), ("forms", c_char_p),
    ]


class Validation(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("kl_mean", c_double), ("kl_most", c_double), ("agreement", c_double),
        ("samples", c_int64), ("rows", c_int64), ("layer_error", POINTER(c_double)), ("layers", c_int32),
        ("worst_layer", c_int32),
    ]


class BackendInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("aliases", c_char_p), ("help", c_char_p)]


class KvInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("help", c_char_p)]


class SocInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("known_as", c_char_p), ("id", c_int64),
                ("schemes", c_char_p), ("generation", c_int64)]


class SchemeInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("name", c_char_p), ("aliases", c_char_p), ("backends", c_char_p),
        ("help", c_char_p),
    ]


class BuildInfo(Sized):
    _fields_ = [
        ("struct_size", c_size_t), ("version", c_char_p), ("half", c_char_p), ("architecture", c_char_p),
        ("compiler", c_char_p),
    ]


class LibraryInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("purpose", c_char_p), ("version", c_char * 40)]


class KernelSetInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("available", c_int32), ("best", c_int32), ("name", c_char_p),
                ("base", c_size_t)]


class CpuFeatureInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("present", c_int32), ("set", c_int32), ("name", c_char_p)]


BENCH_FN = CFUNCTYPE(c_bool, c_void_p, c_int32, c_int32)


class ProbeInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("available", c_int32), ("tiles", c_int32), ("kind", c_char_p), ("name", c_char_p),
                ("kernels", c_char_p)]


class BenchOptions(Sized):
    _fields_ = [("struct_size", c_size_t), ("rows", POINTER(c_int32)), ("n_rows", c_size_t), ("context", c_int32),
                ("no_context", c_int32), ("turns", c_int32), ("seconds", c_int32), ("kv_type", c_char_p),
                ("on_pass", BENCH_FN), ("ctx", c_void_p)]


class BenchPass(Sized):
    _fields_ = [("struct_size", c_size_t), ("rows", c_int32), ("turns", c_int32), ("least_ms", c_double),
                ("median_ms", c_double), ("most_ms", c_double), ("body_ms", c_double), ("bytes", c_double),
                ("int8", c_double), ("int4", c_double), ("float32", c_double)]


class BenchInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("kernels", c_char_p), ("context", c_int32), ("cancelled", c_int32),
                ("passes", c_int32), ("threads", c_int32), ("prompt_ms", c_double)]


class BenchDecode(Sized):
    _fields_ = [("struct_size", c_size_t), ("algorithm", c_char_p), ("block_length", c_int32), ("new_tokens", c_int32),
                ("passes", c_int32), ("widest", c_int32), ("prompt_ms", c_double), ("decode_ms", c_double)]


# ---- functions -------------------------------------------------------------------------------------------------------

_ERR = POINTER(Error)
_HANDLE = POINTER(c_void_p)       # where a handle is written to, or an array of them
_IDS = POINTER(c_int32)
_IDS_OUT = POINTER(POINTER(c_int32))
_SIZE_OUT = POINTER(c_size_t)

# name: (result, arguments). Text that the library allocates is declared c_void_p, so that its address is kept and can
# be given to dlx_free.
FUNCTIONS = {
    # status.h
    "dlx_status_name": (c_char_p, [c_int]),
    # threads.h
    "dlx_thread_pool_create": (c_int, [_HANDLE, c_int32, _ERR]),
    "dlx_thread_pool_free": (None, [c_void_p]),
    "dlx_thread_pool_size": (c_int32, [c_void_p]),
    "dlx_cpu_count": (c_int32, []),
    # decode.h
    "dlx_family_name": (c_char_p, [c_int]),
    "dlx_family_from_name": (c_int, [c_char_p]),
    "dlx_decode_options_create": (c_int, [_HANDLE, _ERR]),
    "dlx_decode_options_free": (None, [c_void_p]),
    "dlx_decode_options_set": (c_int, [c_void_p, c_char_p, c_char_p, _ERR]),
    "dlx_decode_option_count": (c_size_t, []),
    "dlx_decode_option_info": (c_bool, [c_size_t, POINTER(OptionInfo)]),
    "dlx_decode_option_in_force": (c_int, [POINTER(ModelFacts), c_void_p, _IDS, c_size_t, c_char_p, c_void_p, c_size_t,
                                           _ERR]),
    "dlx_generate": (c_int, [POINTER(ModelFacts), c_void_p, c_void_p, c_void_p, _IDS, c_size_t, STEP_FN, c_void_p,
                             _HANDLE, _ERR]),
    "dlx_generation_free": (None, [c_void_p]),
    "dlx_generation_algorithm": (c_char_p, [c_void_p]),
    "dlx_generation_output_ids": (_IDS, [c_void_p, _SIZE_OUT]),
    "dlx_generation_answer_ids": (_IDS, [c_void_p, _SIZE_OUT]),
    "dlx_generation_finish_reason": (c_char_p, [c_void_p]),
    "dlx_generation_num_forwards": (c_int32, [c_void_p]),
    "dlx_generation_num_steps": (c_size_t, [c_void_p]),
    "dlx_generation_step": (c_bool, [c_void_p, c_size_t, POINTER(Step)]),
    # completion.h
    "dlx_complete": (c_int, [POINTER(ModelFacts), c_void_p, c_void_p, POINTER(CompletionOptions), _IDS, c_size_t,
                             _HANDLE, _ERR]),
    "dlx_completion_free": (None, [c_void_p]),
    "dlx_completion_generation": (c_void_p, [c_void_p]),
    "dlx_completion_text": (c_void_p, [c_void_p, _SIZE_OUT]),
    "dlx_completion_ids": (_IDS, [c_void_p, _SIZE_OUT]),
    "dlx_completion_finish_reason": (c_char_p, [c_void_p]),
    "dlx_completion_statistics": (c_int, [c_void_p, POINTER(Statistics), _ERR]),
    # constraint.h
    "dlx_constraint_from_regex": (c_int, [_HANDLE, c_void_p, c_char_p, c_size_t, POINTER(ConstraintOptions), _ERR]),
    "dlx_constraint_from_grammar": (c_int, [_HANDLE, c_void_p, c_char_p, c_size_t, POINTER(ConstraintOptions), _ERR]),
    "dlx_constraint_from_schema": (c_int, [_HANDLE, c_void_p, c_char_p, c_size_t, POINTER(ConstraintOptions), _ERR]),
    "dlx_constraint_free": (None, [c_void_p]),
    "dlx_constraint_accepts": (c_bool, [c_void_p, c_char_p, c_size_t]),
    "dlx_constraint_get_info": (c_int, [c_void_p, POINTER(ConstraintInfo), _ERR]),
    "dlx_decode_options_set_constraint": (c_int, [c_void_p, c_void_p, _ERR]),
    # model.h
    "dlx_model_open": (c_int, [_HANDLE, c_char_p, POINTER(ModelOptions), _ERR]),
    "dlx_model_open_fd": (c_int, [_HANDLE, c_int, POINTER(ModelOptions), _ERR]),
    "dlx_model_open_memory": (c_int, [_HANDLE, c_void_p, c_size_t, POINTER(ModelOptions), _ERR]),
    "dlx_model_close": (None, [c_void_p]),
    "dlx_model_get_facts": (POINTER(ModelFacts), [c_void_p]),
    "dlx_model_read_facts": (c_int, [POINTER(ModelFacts), c_char_p, _ERR]),
    "dlx_model_memory": (c_int, [c_void_p, c_int32, c_int32, POINTER(Memory), _ERR]),
    "dlx_model_kernels": (c_char_p, [c_void_p]),
    "dlx_model_pack_cache": (c_int, [c_void_p, POINTER(c_char_p)]),
    "dlx_session_open": (c_int, [_HANDLE, c_void_p, c_int32, c_int32, _ERR]),
    "dlx_session_close": (None, [c_void_p]),
    "dlx_session_forward": (c_int, [c_void_p, POINTER(ForwardCall), _ERR]),
    "dlx_session_reusable": (c_int32, [c_void_p, _IDS, c_size_t, c_int32]),
    "dlx_session_truncate": (None, [c_void_p, c_int32]),
    "dlx_workspace_open": (c_int, [_HANDLE, c_void_p, POINTER(WorkspaceOptions), _ERR]),
    "dlx_workspace_close": (None, [c_void_p]),
    "dlx_workspace_memory": (c_int, [c_void_p, POINTER(WorkspaceOptions), POINTER(Memory), _ERR]),
    "dlx_workspace_free_positions": (c_int32, [c_void_p]),
    "dlx_session_open_in": (c_int, [_HANDLE, c_void_p, _ERR]),
    "dlx_session_fork": (c_int, [_HANDLE, c_void_p, c_int32, _ERR]),
    "dlx_forward_batch": (c_int, [_HANDLE, POINTER(POINTER(ForwardCall)), c_size_t, POINTER(c_int), _ERR]),
    "dlx_batcher_open": (c_int, [_HANDLE, c_void_p, POINTER(BatcherOptions), _ERR]),
    "dlx_batcher_close": (None, [c_void_p]),
    "dlx_batcher_join": (c_int, [_HANDLE, c_void_p, c_void_p, _ERR]),
    "dlx_batcher_leave": (None, [c_void_p]),
    "dlx_batcher_forward": (c_int, [c_void_p, POINTER(ForwardCall), _ERR]),
    "dlx_batcher_get_counts": (c_int, [c_void_p, POINTER(BatcherCounts), _ERR]),
    "dlx_check_output": (c_int, [c_char_p, POINTER(c_char_p), c_size_t, _ERR]),
    "dlx_write_tensors": (c_int, [c_char_p, POINTER(c_char_p), POINTER(Tensor), c_size_t, _ERR]),
    "dlx_write_logits": (c_int, [c_char_p, POINTER(c_float), c_int32, c_int32, _ERR]),
    "dlx_inspect": (c_int, [c_char_p, c_bool, POINTER(WorkspaceOptions), _HANDLE, _ERR]),
    "dlx_inspect_graph": (c_int, [c_char_p, c_bool, c_bool, _HANDLE, _ERR]),
    "dlx_inspect_method": (c_int, [c_char_p, c_char_p, c_bool, _HANDLE, _ERR]),
    "dlx_inspect_method_graph": (c_int, [c_char_p, c_char_p, c_bool, c_bool, _HANDLE, _ERR]),
    "dlx_free": (None, [c_void_p]),
    "dlx_api_version": (c_uint32, []),
    "dlx_version_string": (c_char_p, []),
    # method.h
    "dlx_element_name": (c_char_p, [c_int32]),
    "dlx_element_size": (c_size_t, [c_int32]),
    "dlx_method_open": (c_int, [_HANDLE, c_char_p, c_char_p, POINTER(MethodOptions), _ERR]),
    "dlx_method_open_fd": (c_int, [_HANDLE, c_int, c_char_p, POINTER(MethodOptions), _ERR]),
    "dlx_method_open_memory": (c_int, [_HANDLE, c_void_p, c_size_t, c_char_p, POINTER(MethodOptions), _ERR]),
    "dlx_method_close": (None, [c_void_p]),
    "dlx_method_num_inputs": (c_size_t, [c_void_p]),
    "dlx_method_num_outputs": (c_size_t, [c_void_p]),
    "dlx_method_state_bytes": (c_uint64, [c_void_p]),
    "dlx_method_input_info": (c_int, [c_void_p, c_size_t, POINTER(TensorInfo), _ERR]),
    "dlx_method_output_info": (c_int, [c_void_p, c_size_t, POINTER(TensorInfo), _ERR]),
    "dlx_method_run": (c_int, [c_void_p, POINTER(Tensor), c_size_t, _ERR]),
    "dlx_method_output": (c_int, [c_void_p, c_size_t, POINTER(Tensor), _ERR]),
    "dlx_method_reset": (None, [c_void_p]),
    # fixed.h
    "dlx_fixed_program_read": (c_int, [_HANDLE, c_char_p, _ERR]),
    "dlx_fixed_program_read_fd": (c_int, [_HANDLE, c_int, _ERR]),
    "dlx_fixed_program_read_memory": (c_int, [_HANDLE, c_void_p, c_size_t, _ERR]),
    "dlx_fixed_program_free": (None, [c_void_p]),
    "dlx_fixed_open": (c_int, [_HANDLE, c_void_p, RUN_FN, c_void_p, POINTER(Allocator), _ERR]),
    "dlx_fixed_close": (None, [c_void_p]),
    "dlx_fixed_bytes": (c_uint64, [c_void_p]),
    "dlx_fixed_input": (c_int, [c_void_p, c_size_t, c_size_t, POINTER(Tensor), _ERR]),
    "dlx_fixed_forward": (c_int, [c_void_p, POINTER(ForwardCall), _ERR]),
    "dlx_fixed_reusable": (c_int32, [c_void_p, _IDS, c_size_t, c_int32]),
    "dlx_fixed_truncate": (None, [c_void_p, c_int32]),
    # text.h
    "dlx_tokenizer_open_folder": (c_int, [_HANDLE, c_char_p, _ERR]),
    "dlx_tokenizer_open_packed": (c_int, [_HANDLE, c_char_p, c_size_t, _ERR]),
    "dlx_tokenizer_open_pte": (c_int, [_HANDLE, c_char_p, _ERR]),
    "dlx_tokenizer_open_pte_fd": (c_int, [_HANDLE, c_int, _ERR]),
    "dlx_tokenizer_open_pte_memory": (c_int, [_HANDLE, c_void_p, c_size_t, _ERR]),
    "dlx_tokenizer_close": (None, [c_void_p]),
    "dlx_tokenizer_pack": (c_int, [c_void_p, _HANDLE, _SIZE_OUT, _ERR]),
    "dlx_tokenizer_encode": (c_int, [c_void_p, c_char_p, c_size_t, c_int, _IDS_OUT, _SIZE_OUT, _ERR]),
    "dlx_tokenizer_decode": (c_int, [c_void_p, _IDS, c_size_t, c_bool, _HANDLE, _SIZE_OUT, _ERR]),
    "dlx_tokenizer_bytes": (c_void_p, [c_void_p, c_int32, _SIZE_OUT]),
    "dlx_tokenizer_size": (c_int32, [c_void_p]),
    "dlx_tokenizer_special_id": (c_int32, [c_void_p, c_char_p]),
    "dlx_tokenizer_mask_id": (c_int32, [c_void_p]),
    "dlx_text_stream_open": (c_int, [_HANDLE, c_void_p, c_bool, _ERR]),
    "dlx_text_stream_close": (None, [c_void_p]),
    "dlx_text_stream_push": (c_int, [c_void_p, _IDS, c_size_t, _HANDLE, _SIZE_OUT, _ERR]),
    "dlx_text_stream_flush": (c_int, [c_void_p, _HANDLE, _SIZE_OUT, _ERR]),
    "dlx_tokenizer_open_folder_with": (c_int, [_HANDLE, c_char_p, c_char_p, _ERR]),
    "dlx_tokenizer_has_chat_template": (c_bool, [c_void_p]),
    "dlx_chat_render": (c_int, [c_void_p, POINTER(ChatMessage), c_size_t, POINTER(ChatOptions), _HANDLE, _SIZE_OUT,
                                _ERR]),
    "dlx_chat_render_json": (c_int, [c_void_p, c_char_p, c_size_t, POINTER(ChatOptions), _HANDLE, _SIZE_OUT, _ERR]),
    "dlx_chat_encode_json": (c_int, [c_void_p, c_char_p, c_size_t, POINTER(ChatOptions), _IDS_OUT, _SIZE_OUT, _ERR]),
    "dlx_chat_encode": (c_int, [c_void_p, POINTER(ChatMessage), c_size_t, POINTER(ChatOptions), _IDS_OUT, _SIZE_OUT,
                                _ERR]),
    # system.h
    "dlx_get_build_info": (c_bool, [POINTER(BuildInfo)]),
    "dlx_get_library_info": (c_bool, [c_size_t, POINTER(LibraryInfo)]),
    "dlx_get_kernel_set_info": (c_bool, [c_size_t, POINTER(KernelSetInfo)]),
    "dlx_get_cpu_feature_info": (c_bool, [c_size_t, POINTER(CpuFeatureInfo)]),
    # bench.h
    "dlx_get_probe_info": (c_bool, [c_size_t, POINTER(ProbeInfo)]),
    "dlx_probe_run": (c_int, [c_size_t, c_void_p, POINTER(c_double), _ERR]),
    "dlx_bench_check": (c_int, [POINTER(ModelFacts), POINTER(BenchOptions), POINTER(c_int32), _ERR]),
    "dlx_bench_run": (c_int, [_HANDLE, c_void_p, POINTER(BenchOptions), _ERR]),
    "dlx_bench_free": (None, [c_void_p]),
    "dlx_bench_get_info": (c_bool, [c_void_p, POINTER(BenchInfo)]),
    "dlx_bench_get_pass": (c_bool, [c_void_p, c_size_t, POINTER(BenchPass)]),
    "dlx_bench_estimate": (c_int, [c_void_p, c_void_p, c_double, c_int32, POINTER(BenchDecode), _ERR]),
    # export.h
    "dlx_export": (c_int, [POINTER(ExportOptions), POINTER(ExportResult), _ERR]),
    "dlx_export_backend_info": (c_bool, [c_size_t, POINTER(BackendInfo)]),
    "dlx_export_scheme_info": (c_bool, [c_size_t, POINTER(SchemeInfo)]),
    "dlx_export_kv_info": (c_bool, [c_size_t, POINTER(KvInfo)]),
    "dlx_export_soc_info": (c_bool, [c_size_t, POINTER(SocInfo)]),
    "dlx_export_backend_check": (c_int, [POINTER(ExportOptions), _HANDLE, _ERR]),
    "dlx_export_cache_folder": (c_int, [POINTER(c_void_p), _ERR]),
    "dlx_export_find_checkpoint": (c_int, [POINTER(c_void_p), c_char_p, _ERR]),
    "dlx_validate": (c_int, [POINTER(ValidateOptions), POINTER(Validation), _ERR]),
    "dlx_export_validated": (c_int, [POINTER(ExportOptions), POINTER(ValidateOptions), POINTER(ExportResult),
                                     POINTER(Validation), _ERR]),
    "dlx_quantize_report": (c_int, [POINTER(QuantizeReportOptions), _HANDLE, _ERR]),
}

# What a build of the run half alone lacks.
EXPORT_HALF = ("dlx_export", "dlx_export_backend_info", "dlx_export_scheme_info", "dlx_export_kv_info",
               "dlx_export_soc_info", "dlx_export_backend_check",
               "dlx_export_cache_folder", "dlx_export_find_checkpoint", "dlx_validate", "dlx_export_validated",
               "dlx_quantize_report")


def _missing(name: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise UnsupportedError(f"this build of libdiffulex_edge has no {name}: it is the run half alone; build it "
                               "without DLX_RUNTIME_ONLY to export and to read checkpoint folders")
    return refuse


class Library:
    """The loaded library: one attribute for every function of FUNCTIONS, and its path."""

    def __init__(self, cdll: ctypes.CDLL, path: str) -> None:
        self.path = path
        self.cdll = cdll
        for name, (result, arguments) in FUNCTIONS.items():
            try:
                function = getattr(cdll, name)
            except AttributeError:
                if name not in EXPORT_HALF:
                    raise LibraryNotFoundError(f"{path} lacks the function {name}; rebuild libdiffulex_edge from the "
                                               "source tree that this Python package belongs to") from None
                setattr(self, name, _missing(name))
                continue
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        version = self.dlx_api_version()
        if version != API_VERSION:
            raise LibraryNotFoundError(f"{path} has ABI version {version}, this Python package needs {API_VERSION}; "
                                       "install both from the same source tree")

    def __getattr__(self, name: str) -> Any:  # tells the type checker that functions are dynamic
        raise AttributeError(name)


# ---- search ----------------------------------------------------------------------------------------------------------

def _file_names() -> Tuple[str, ...]:
    if sys.platform == "darwin":
        return ("libdiffulex_edge.dylib", "libdiffulex_edge.0.dylib")
    if sys.platform == "win32":
        return ("diffulex_edge.dll",)
    return ("libdiffulex_edge.so", f"libdiffulex_edge.so.{API_VERSION}")


def _in_folder(folder: Path) -> Iterator[Path]:
    for sub in ("", "lib", "lib64", "bin", "src"):
        for name in _file_names():
            yield folder / sub / name


def _of_distribution() -> Iterator[Path]:
    """Library files that pip recorded for this package: an editable install keeps them apart from the sources."""
    from importlib import metadata
    try:
        files = metadata.files("diffulex-edge") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name in _file_names():
            yield Path(str(file.locate()))


def _candidates() -> Iterator[Path]:
    package = Path(__file__).resolve().parent
    yield from _in_folder(package)
    yield from _of_distribution()
    root = package.parent.parent
    if (root / "include" / "diffulex_edge" / "status.h").is_file():
        for build in ("build/release", "build/clang", "build/debug", "build/runtime-only", "build"):
            yield from _in_folder(root / build)


def _search() -> Tuple[Optional[str], List[str]]:
    """(path of the library or None, where it was looked for)."""
    named = os.environ.get("DLX_LIBRARY")
    if named:
        return (named if Path(named).is_file() else None), [f"DLX_LIBRARY={named}"]
    build = os.environ.get("DLX_BUILD_DIR")
    if build:
        for path in _in_folder(Path(build)):
            if path.is_file():
                return str(path), []
        return None, [f"DLX_BUILD_DIR={build} and its folder src"]
    for path in _candidates():
        if path.is_file():
            return str(path), []
    found = ctypes.util.find_library("diffulex_edge")
    return found, ["the installed package", "build folders of the source tree", "the system's library folders"]


@functools.lru_cache(maxsize=1)
def library() -> Library:
    """The library, loaded at the first call. LibraryNotFoundError says where it was looked for and what to do."""
    path, looked = _search()
    if path is None:
        raise LibraryNotFoundError(
            f"libdiffulex_edge was not found (looked in: {'; '.join(looked)}); build it with CMake and set "
            "DLX_BUILD_DIR to the build folder, or DLX_LIBRARY to the file, or install the package with pip install .")
    try:
        cdll = ctypes.CDLL(path)
    except OSError as error:
        raise LibraryNotFoundError(f"libdiffulex_edge at {path} cannot be loaded: {error}") from error
    return Library(cdll, path)


# ---- calls -----------------------------------------------------------------------------------------------------------

def check(status: int, error: Error) -> None:
    """Raises the exception for a status other than DLX_OK."""
    if status != OK:
        message = error.message.decode("utf-8", "replace")
        raise error_from_status(status, message or f"libdiffulex_edge failed with status {status}")


def call(name: str, *arguments: Any) -> None:
    """Calls a function whose last parameter is `dlx_error *err` and raises when it fails."""
    error = Error()
    check(getattr(library(), name)(*arguments, ctypes.byref(error)), error)


def encode_path(path: Any) -> bytes:
    """A path as the library takes it. ValueError for one with a NUL character."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("the path holds a NUL character")
    return encoded


def optional_path(path: Any) -> Optional[bytes]:
    """encode_path, with None for None."""
    return None if path is None else encode_path(path)


def optional_text(text: Optional[str]) -> Optional[bytes]:
    """Text as the library takes it, with None for None."""
    return None if text is None else text.encode()


def descriptor(fd: Descriptor) -> int:
    """The number of an open descriptor, or of an open file."""
    try:
        number = fd.fileno() if hasattr(fd, "fileno") else operator.index(fd)
    except (TypeError, OSError) as error:   # io.BytesIO has fileno(), which raises
        raise TypeError(f"{type(fd).__name__} is no open descriptor and no open file: {error}") from None
    return int(number)


def address_of(data: Any) -> Tuple[Any, int]:
    """(what the library takes as an address, number of bytes) of a bytes-like object; a copy only where the object is
    neither bytes nor writable. The object must outlive the call."""
    if isinstance(data, bytes):
        return data, len(data)
    view = memoryview(data).cast("B")
    if view.readonly:
        return bytes(view), len(view)
    return (ctypes.c_char * len(view)).from_buffer(view), len(view)


def take_bytes(pointer: c_void_p, size: int = -1) -> bytes:
    """Copies `size` bytes that the library allocated, -1: those of a C string, and frees them."""
    try:
        return ctypes.string_at(pointer, size) if size else b""
    finally:
        library().dlx_free(pointer)


def take_ids(pointer: Any, size: int) -> List[int]:
    """Copies ids that the library allocated, and frees them."""
    try:
        return list(pointer[:size]) if size else []
    finally:
        library().dlx_free(ctypes.cast(pointer, c_void_p))
