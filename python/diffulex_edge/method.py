"""Methods: any method of any program as a function of arrays.

For programs that PyTorch users export and that are no language models with explicit caches; those are a Model.
"""
from ctypes import byref, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Tuple

from . import _native
from ._native import PathLike
from .arrays import ELEMENTS, input_array, output_array, tensor_of
from .handles import Borrow, Handle, Turn, using
from .opened import Opened
from .session import require_file

if TYPE_CHECKING:
    from .threads import ThreadPool

__all__ = ["Method", "TensorInfo"]


class TensorInfo(NamedTuple):
    """What a method takes or gives at one place."""

    name: Optional[str]        # as the file says
    dtype: str                 # "float32", "int64", ...
    shape: Tuple[int, ...]     # exact, or the largest where the dimension varies
    dynamic: Tuple[bool, ...]  # which dimensions may be smaller


def _info(function: str, pointer: Any, i: int) -> TensorInfo:
    out = _native.TensorInfo()
    _native.call(function, pointer, i, byref(out))
    return TensorInfo(out.name.decode("utf-8", "replace") if out.name is not None else None,
                      ELEMENTS[out.element], tuple(out.size[:out.rank]),
                      tuple(bool(out.dynamic >> d & 1) for d in range(out.rank)))


class Method(Opened):
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
        self._open("dlx_method_open", (_native.encode_path(path),), name, threads, cpu, pool)

    def _open(self, function: str, source: Tuple[Any, ...], name: str, threads: int, cpu: Optional[str],
              pool: "Optional[ThreadPool]") -> None:
        library = _native.library()
        options = _native.MethodOptions(threads=threads, cpu=_native.optional_text(cpu),
                                        pool=pool._handle.pointer if pool else None)
        self._handle = Handle("the method",
                              lambda out: _native.call(function, out, *source, name.encode(), byref(options)),
                              library.dlx_method_close, *((pool._handle,) if pool else ()))
        self._turn = Turn("the method is in use by another thread; open one for each thread")
        self.name = name
        with self._handle.use() as pointer:
            n_in, n_out = library.dlx_method_num_inputs(pointer), library.dlx_method_num_outputs(pointer)
            self.inputs: List[TensorInfo] = [_info("dlx_method_input_info", pointer, i) for i in range(n_in)]
            self.outputs: List[TensorInfo] = [_info("dlx_method_output_info", pointer, i) for i in range(n_out)]
            self.state_bytes = int(library.dlx_method_state_bytes(pointer))

    @classmethod
    def from_fd(cls, fd: _native.Descriptor, name: str = "forward", *, threads: int = 0, cpu: Optional[str] = None,
                pool: "Optional[ThreadPool]" = None) -> "Method":
        """From an open descriptor of a .pte, or an open file, which stays yours and is needed during the call only."""
        method = cls.__new__(cls)
        method._open("dlx_method_open_fd", (_native.descriptor(fd),), name, threads, cpu, pool)
        return method

    @classmethod
    def from_bytes(cls, data: Any, name: str = "forward", *, threads: int = 0, cpu: Optional[str] = None,
                   pool: "Optional[ThreadPool]" = None) -> "Method":
        """From the bytes of a .pte, which are needed during the call only."""
        method = cls.__new__(cls)
        method._open("dlx_method_open_memory", _native.address_of(data), name, threads, cpu, pool)
        return method

    def __repr__(self) -> str:
        state = "closed" if self._handle.closed else f"{len(self.inputs)} inputs, {len(self.outputs)} outputs"
        return f"<Method {self.name}, {state}>"

    def __call__(self, *inputs: Any) -> Any:
        """One numpy array, or a tuple of them where the method gives several.

        Inputs are numpy arrays or torch tensors of the element types in `inputs`, or numbers in (nested) lists, which
        become that type. bfloat16 is taken from torch tensors and from float32, and given as float32. ValueError for
        inputs that do not fit.
        """
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{len(inputs)} inputs were given; the method takes {len(self.inputs)}")
        arrays = [input_array(value, info.dtype, i) for i, (value, info) in enumerate(zip(inputs, self.inputs))]
        tensors = (_native.Tensor * max(len(arrays), 1))()
        for tensor, (array, name) in zip(tensors, arrays):
            tensor_of(tensor, array, name)
        def work(pointer: Any) -> Tuple[Any, ...]:
            _native.call("dlx_method_run", pointer, tensors, c_size_t(len(arrays)))
            return tuple([self._output(pointer, i) for i in range(len(self.outputs))])
        results = using(self._borrow(), work)
        return results[0] if len(results) == 1 else results

    def _borrow(self) -> Borrow[c_void_p]:
        return Borrow(lambda pointer, _: pointer, self._handle.use(), self._turn.take())

    def _output(self, pointer: Any, i: int) -> Any:
        out = _native.Tensor()
        _native.call("dlx_method_output", pointer, i, byref(out))
        return output_array(out)

    def reset(self) -> None:
        """What is kept between calls becomes what it was after opening."""
        with self._borrow() as pointer:
            _native.library().dlx_method_reset(pointer)

    def close(self) -> None:
        """Closing twice is fine."""
        self._handle.close()

    def _end(self) -> None:
        self.close()
