"""Methods: any method of any program as a function of arrays.

For programs that PyTorch users export and that are no language models with explicit caches; those are a Model.
"""
import ctypes
import os
import threading
from ctypes import byref, c_size_t
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from . import _native
from .handles import Handle
from .session import require_file

if TYPE_CHECKING:
    from .threads import ThreadPool

__all__ = ["Method", "TensorInfo"]

PathLike = Union[str, "os.PathLike[str]"]

# dlx_element and the names that numpy and struct know: (numpy's name, format of a memoryview; None: bytes)
_ELEMENTS: Dict[int, Tuple[str, Optional[str]]] = {
    0: ("uint8", "B"), 1: ("int8", "b"), 3: ("int32", "i"), 4: ("int64", "q"), 5: ("float16", None), 6: ("float32", "f"),
    11: ("bool", "?"), 15: ("bfloat16", None),
}
_NUMBERS = {name: number for number, (name, _) in _ELEMENTS.items()}


class TensorInfo(NamedTuple):
    """What a method takes or gives at one place."""

    name: Optional[str]        # as the file says
    dtype: str                 # "float32", "int64", ...
    shape: Tuple[int, ...]     # exact, or the largest where the dimension varies
    dynamic: Tuple[bool, ...]  # which dimensions may be smaller


def _info(call: Callable[..., None], function: str, pointer: Any, i: int) -> TensorInfo:
    out = _native.TensorInfo()
    call(function, pointer, i, byref(out))
    return TensorInfo(out.name.decode("utf-8", "replace") if out.name is not None else None,
                      _ELEMENTS[out.element][0], tuple(out.size[:out.rank]),
                      tuple(bool(out.dynamic >> d & 1) for d in range(out.rank)))


class Method:
    """A method of a .pte, called with numpy arrays (or torch tensors).

    path      the file
    name      which method
    threads   0: one for each available core; results do not depend on it
    cpu       kernel set, as for Model
    pool      a ThreadPool that it shares with others, instead of threads of its own

    Buffers that the exported module changes are kept between calls: reset() makes them what they were. A method is used
    by one thread at a time; a second one gets a RuntimeError.
    """

    def __init__(self, path: PathLike, name: str = "forward", *, threads: int = 0, cpu: Optional[str] = None,
                 pool: "Optional[ThreadPool]" = None) -> None:
        require_file(path)
        library = _native.library()
        options = _native.MethodOptions(threads=threads, cpu=cpu.encode() if cpu else None,
                                        pool=pool._handle.pointer if pool else None)
        self._handle = Handle("the method",
                              lambda out: _native.call("dlx_method_open", out, _native.encode_path(path), name.encode(),
                                                       byref(options)),
                              library.dlx_method_close, *((pool._handle,) if pool else ()))
        self._lock = threading.Lock()
        self.name = name
        with self._handle.use() as pointer:
            n_in, n_out = library.dlx_method_num_inputs(pointer), library.dlx_method_num_outputs(pointer)
            self.inputs: List[TensorInfo] = [_info(_native.call, "dlx_method_input_info", pointer, i)
                                             for i in range(n_in)]
            self.outputs: List[TensorInfo] = [_info(_native.call, "dlx_method_output_info", pointer, i)
                                              for i in range(n_out)]
            self.state_bytes = int(library.dlx_method_state_bytes(pointer))

    def __call__(self, *inputs: Any) -> Any:
        """One numpy array, or a tuple of them where the method gives several. ValueError for inputs that do not fit."""
        import numpy
        arrays = [_array(value, i) for i, value in enumerate(inputs)]
        tensors = (_native.Tensor * max(len(arrays), 1))()
        for tensor, array in zip(tensors, arrays):
            tensor.struct_size = ctypes.sizeof(_native.Tensor)
            tensor.element = _NUMBERS[array.dtype.name]
            tensor.rank = array.ndim
            tensor.size[:array.ndim] = array.shape
            tensor.data = array.ctypes.data
        with self._mine(), self._handle.use() as pointer:
            _native.call("dlx_method_run", pointer, tensors, c_size_t(len(arrays)))
            results = tuple(self._output(numpy, pointer, i) for i in range(len(self.outputs)))
        return results[0] if len(results) == 1 else results

    def _output(self, numpy: Any, pointer: Any, i: int) -> Any:
        out = _native.Tensor()
        _native.call("dlx_method_output", pointer, i, byref(out))
        dtype = numpy.dtype(_ELEMENTS[out.element][0] if out.element != 15 else "uint16")
        shape = tuple(out.size[:out.rank])
        count = int(numpy.prod(shape, dtype=numpy.int64))
        if not count:
            return numpy.empty(shape, dtype)
        raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(out.data)
        return numpy.frombuffer(raw, dtype).reshape(shape).copy()

    def reset(self) -> None:
        """What is kept between calls becomes what it was after opening."""
        with self._mine(), self._handle.use() as pointer:
            _native.library().dlx_method_reset(pointer)

    def _mine(self) -> "_Mine":
        return _Mine(self._lock)

    def close(self) -> None:
        """Closing twice is fine."""
        self._handle.close()

    def __enter__(self) -> "Method":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class _Mine:
    """The method belongs to one thread for the time of a call."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("the method is in use by another thread; open one for each thread")

    def __exit__(self, *_: Any) -> None:
        self._lock.release()


def _array(value: Any, i: int) -> Any:
    """A contiguous numpy array of a type that methods take. Python's own numbers become numpy's: int64, float64."""
    import numpy
    if hasattr(value, "detach"):  # torch
        value = value.detach().cpu().numpy()
    array = numpy.asarray(value, order="C")
    if array.dtype.name not in _NUMBERS:
        raise ValueError(f"input {i} holds {array.dtype.name}; methods take {', '.join(sorted(_NUMBERS))}")
    if array.ndim > _native.TENSOR_MAX_RANK:
        raise ValueError(f"input {i} has {array.ndim} dimensions; methods take at most {_native.TENSOR_MAX_RANK}")
    return array
