"""Sessions over programs whose shapes never vary (export --kv fixed, fixed-fp16, fixed-state), which the official runtime
runs.

The library's dlx_fixed_session keeps the cache, pads calls, masks and cuts them, and has all buffers that go in. The runtime
sees them as torch tensors that were made once; nothing is copied on the way in. Where the program keeps the cache itself
(fixed-state), each session has methods of its own.
"""
import ctypes
from ctypes import POINTER, byref, c_char_p, c_uint8, c_void_p
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple, Union

from diffulex_edge import _native
from diffulex_edge.decode import ModelFacts, NativeForward, _to_ids, run_with
from diffulex_edge.errors import DlxError
from diffulex_edge.handles import Borrow, Handle
from diffulex_edge.session import Timeline, _prepare

if TYPE_CHECKING:
    from .executorch import ExecuTorchModel

__all__ = ["FixedProgram", "FixedSession"]

_DTYPES = {4: "int64", 5: "float16", 6: "float32"}  # of dlx_element


class FixedProgram:
    """What a .pte says of itself. RuntimeError (FormatError, UnsupportedError) for a file of another form."""

    def __init__(self, path: str) -> None:
        encoded = _native.encode_path(path)
        self.handle = Handle("the program", lambda out: _native.call("dlx_fixed_program_read", out, encoded),
                             _native.library().dlx_fixed_program_free, inherited=True)
        with self.handle.use() as pointer:
            described = ctypes.cast(pointer, POINTER(_native.FixedProgram)).contents
            names = ctypes.cast(described.method_names, POINTER(c_char_p))
            self.facts = ModelFacts.from_native(described.facts.contents)
            self.rows: List[int] = described.method_rows[:described.n_methods]
            self.names = [names[i].decode() for i in range(described.n_methods)]
            self.keeps_cache = bool(described.keeps_cache)
            self.row_shape = (described.kv_heads, described.head_dim)
            self.n_caches = 2 * described.layers    # that go in and out; 0 where the program keeps them
            self.dtype = _DTYPES[described.element]


class _Runner:
    """Runs methods for a session, on the thread of the job (running.py), which no signal interrupts."""

    def __init__(self, torch: Any, program: FixedProgram, methods: Sequence[Any]) -> None:
        self._torch = torch
        self._program = program
        self._methods = methods
        self._inputs: List[List[Any]] = []  # of each method: tensors over the session's memory
        self._results: List[Any] = []       # of the last run, whose memory the session reads
        self.raised: List[BaseException] = []

    def bind(self, session: c_void_p) -> None:
        """Makes the tensors, of a session that is open."""
        for method in range(len(self._methods)):
            n = 4 if self._program.keeps_cache else 3 + self._program.n_caches
            self._inputs.append([self._input(session, method, i) for i in range(n)])

    def _input(self, session: c_void_p, method: int, i: int) -> Any:
        out = _native.Tensor()
        _native.call("dlx_fixed_input", session, method, i, byref(out))
        shape = list(out.size[:out.rank])
        dtype = getattr(self._torch, _DTYPES[out.element])
        n = 1
        for size in shape:
            n *= size
        memory = (c_uint8 * (n * dtype.itemsize)).from_address(out.data)
        return self._torch.frombuffer(memory, dtype=dtype).view(shape)

    def call(self, _: Any, method: int, outputs: Any, err: Any) -> int:
        """The dlx_fixed_run_fn."""
        try:
            self._results = self._execute(method)
            for i, tensor in enumerate(self._results):
                outputs[i] = tensor.data_ptr()
            return _native.OK
        except BaseException as error:  # noqa: B902 - raised again behind the C call
            self.raised.append(error)
            return _say(err, error.status if isinstance(error, DlxError) else _native.E_INTERNAL, str(error))

    def _execute(self, method: int) -> List[Any]:
        results = list(self._methods[method].execute(self._inputs[method]))
        program, rows = self._program, self._program.rows[method]
        shapes = [(rows, program.facts.vocab_size)] + program.n_caches * [(rows, *program.row_shape)]
        dtypes = ["float32"] + program.n_caches * [program.dtype]
        if len(results) != len(shapes):
            raise RuntimeError(f"method {program.names[method]} gave {len(results)} outputs; expected {len(shapes)}")
        for i, (tensor, shape, dtype) in enumerate(zip(results, shapes, dtypes)):
            if tuple(tensor.shape) != shape or tensor.dtype != getattr(self._torch, dtype):
                raise RuntimeError(f"output {i} of method {program.names[method]} is {tensor.dtype} "
                                   f"{tuple(tensor.shape)}; expected {dtype} {shape}")
        return [tensor.contiguous() for tensor in results]


def _say(err: Any, status: int, message: str) -> int:
    err.contents.status = status
    err.contents.message = message.encode("utf-8", "replace")[:500]
    return int(status)


class FixedSession(Timeline):
    """One sequence over a program of fixed shapes: what a Session can do; see ExecuTorchModel.session, which opens one.

    Sessions of one model share its methods, unless these keep the cache, so they are used by one thread at a time, all
    together.
    """

    def __init__(self, model: "ExecuTorchModel", torch: Any, program: FixedProgram, methods: Sequence[Any]) -> None:
        self.model = model
        self.max_context = program.facts.max_context
        self._runner = _Runner(torch, program, methods)
        self._function = _native.RUN_FN(self._runner.call)
        with program.handle.use() as description:
            self._handle = Handle(
                "the session", lambda out: _native.call("dlx_fixed_open", out, description, self._function, None, None),
                _native.library().dlx_fixed_close, inherited=True)
        with self._handle.use() as pointer:
            self._runner.bind(pointer)

    def __repr__(self) -> str:
        return f"<FixedSession, {'closed' if self._handle.closed else f'{self.max_context} positions'}>"

    def _borrow(self) -> Borrow[c_void_p]:
        return Borrow(lambda _, pointer: pointer, self.model._turn.take(), self._handle.use())

    def _borrow_forward(self) -> Borrow[NativeForward]:
        raised = self._runner.raised
        raised.clear()
        return Borrow(lambda _, pointer: NativeForward("dlx_fixed_forward", pointer, None, pointer, raised),
                      self.model._turn.take(), self._handle.use())

    def _scopes(self) -> Tuple[Any, ...]:
        return self, self.model

    def forward(self, ids: Sequence[int], start: int = 0, context: Optional[Sequence[Tuple[int, int]]] = None,
                attn_block: Optional[int] = None, store: Union[bool, int] = False,
                rows: Optional[Sequence[int]] = None) -> Any:
        """As Session.forward."""
        call, logits = _prepare(self.model.facts, ids, start, context, attn_block, store, rows)
        run_with(self, None, "forward", lambda job, function, native, facts: _native.call(
            native.function, native.context, byref(call)))  # type: ignore[union-attr]
        return logits

    def reusable(self, prompt: Sequence[int], attn_block: Optional[int] = None) -> int:
        """As Session.reusable."""
        ids, n = _to_ids(prompt)
        width = self.model.facts.attn_block if attn_block is None else attn_block
        with self._borrow() as handle:
            return int(_native.library().dlx_fixed_reusable(handle, ids, n, width))

    def truncate(self, n: int) -> None:
        """As Session.truncate."""
        if n < 0:
            raise ValueError(f"{n} positions cannot be kept; 0 forgets all")
        with self._borrow() as handle:
            _native.library().dlx_fixed_truncate(handle, n)

    def close(self) -> None:
        """Gives back the session's memory. Closing twice is fine; RuntimeError while it is in use."""
        if not self._handle.closed:
            with self.model._turn.take():
                self._handle.close()
