"""The official ExecuTorch runtime behind the decoders: a .pte of layout A (docs/EXPORT.md), the cache in torch tensors, or one
whose shapes never vary (runtime/fixed.py).

A program of layout A attends all cached rows it is given and all rows of its call. Block-causal attention over several blocks
is therefore one call a block, each behind the rows it may see.
"""
import os
from typing import Any, List, Optional, Sequence, Tuple, Union

from diffulex_edge import running
from diffulex_edge.decode import ForwardCall, ModelFacts
from diffulex_edge.errors import LimitError, UnsupportedError
from diffulex_edge.handles import Turn, WeakRefs
from diffulex_edge.session import Speaker, require_file

from .fixed import FixedProgram, FixedSession
from .forward import session_forward

__all__ = ["ExecuTorchModel"]

# What a device or a machine has to have for a delegate.
_NEEDS = {
    "CoreMLBackend": "the package executorch has it on macOS alone, and applications for Apple's devices link it",
    "QnnBackend": "it needs Qualcomm's libraries where the system's loader looks, and the chip",
}
_SLACK = 16  # float32 values behind every input: XNNPACK may read past the end


def _delegates(path: str, method: str) -> List[str]:
    """Names of the delegates that a method calls, XNNPACK's apart, each once, with the chip that they are for."""
    from diffulex_edge.session import inspect_method
    found: List[str] = []
    for delegate in inspect_method(path, method)["delegates"]:
        chip = delegate.get("chip_name") or delegate.get("chip")
        name = delegate["id"] + (f" for {chip}" if chip else "")
        if delegate["id"] != "XnnpackBackend" and name not in found:
            found.append(name)
    return found


def _load_method(runtime: Any, program: Any, path: str, method: str) -> Any:
    """The runtime says a number where it lacks what a method needs; UnsupportedError says what that is."""
    try:
        return program.load_method(method)
    except RuntimeError as error:
        needed = _delegates(path, method)
        if not needed:
            raise
        there = list(runtime.Runtime.get().backend_registry.registered_backend_names)
        why = "; ".join(words for name, words in _NEEDS.items() if any(n.startswith(name) for n in needed))
        raise UnsupportedError(
            f"{path}: the official runtime cannot load method '{method}', which calls {', '.join(needed)}; this runtime has "
            f"{', '.join(there) or 'no delegates'}{'; ' if why else ''}{why} ({error})") from error


def _import() -> Tuple[Any, Any]:
    try:
        import torch
        from executorch import runtime
    except ImportError as error:
        raise ImportError("ExecuTorch runtime not available: runtime=\"executorch\" needs the packages torch and "
                          f"executorch (pip install executorch); {error}") from error
    return torch, runtime


class ExecuTorchModel(Speaker):
    """A .pte in the official runtime, with its cache. Calling it answers a ForwardCall; it is a forward function.

    A program whose shapes never vary (`fixed` is True) has sessions besides, which decode as those of a Model do.

    ImportError when torch or executorch is missing, FileNotFoundError when the file is; what the runtime itself raises
    passes through. UnsupportedError for a program of another signature, and for one that calls delegates which the runtime
    does not have or cannot use.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"], max_context: Optional[int] = None) -> None:
        from diffulex_edge.text import Tokenizer
        self._torch, runtime = _import()
        require_file(path)
        self.path = os.fsdecode(path)
        program = runtime.Runtime.get().load_program(self.path, verification=runtime.Verification.InternalConsistency)
        metadata = {name: program.load_method(name).execute([])
                    for name in sorted(program.method_names) if name.startswith("get_")}
        self.facts = ModelFacts.from_metadata(metadata)
        self.fixed = list(metadata.get("get_kv_form", [])) in (["fixed"], ["fixed-fp16"], ["fixed-state"])
        self._sessions: "WeakRefs[FixedSession]" = WeakRefs()
        self._turn = Turn("the model is in use by another thread or by the call that this one is made from; open a model "
                          "for each")
        self._closed = False
        self._forward: Any = None
        self._tokenizer = self._no_tokenizer = None
        if self.fixed:
            self._program = FixedProgram(self.path)
            self.facts = self._program.facts
            self._methods = [_load_method(runtime, program, self.path, name) for name in self._program.names]
            self._fresh = True      # no session has run them
        else:
            self._forward = _Varying(self._torch, self.path, _load_method(runtime, program, self.path, "forward"), self.facts,
                                     max_context)
        self._keep = program
        self.max_context = min(max_context or self.facts.max_context, self.facts.max_context)
        self._take_tokenizer(lambda: Tokenizer.from_pte(self.path))

    def __call__(self, call: ForwardCall) -> Any:
        """Logits [len(call.rows), vocab_size] as a torch tensor."""
        if self._closed:
            raise ValueError(f"the model {self.path} is closed")
        if not self.fixed:
            return self._forward(call)
        if call.start + len(call.ids) > self.max_context:
            raise LimitError(f"positions {call.start} to {call.start + len(call.ids) - 1} do not fit the context of "
                             f"{self.max_context}")
        if self._forward is None:
            self._forward = session_forward(self.session())
        return self._torch.as_tensor(self._forward(call)).view(len(call.rows), self.facts.vocab_size)

    def session(self) -> FixedSession:
        """An empty sequence over a program whose shapes never vary, with a cache of its own: all positions, keys and values of
        the program's type. UnsupportedError for other programs."""
        if self._closed:
            raise ValueError(f"the model {self.path} is closed")
        if not self.fixed:
            raise UnsupportedError(f"{self.path} has shapes that vary, for which there are no sessions over the official "
                                   "runtime: call the model, open it with Model, or export it with --kv fixed")
        session = FixedSession(self, self._torch, self._program, self._methods_of_session())
        self._sessions.add(session)
        return session

    def _methods_of_session(self) -> List[Any]:
        """All sessions' methods, or, where they keep the cache, a session's own: loaded once more."""
        if not self._program.keeps_cache or self._fresh:
            self._fresh = False
            return self._methods
        _, runtime = _import()
        program = runtime.Runtime.get().load_program(self.path, verification=runtime.Verification.InternalConsistency)
        return [_Loaded(program, name) for name in self._program.names]

    def close(self) -> None:
        """Cancels the decodes that run on it and waits for them, then closes its sessions and the file. Closing twice is
        fine; RuntimeError from a callback of one of the decodes."""
        running.end(self)
        self._closed = True
        for session in list(self._sessions):
            session._end()
        tokenizer, self._tokenizer = self._tokenizer, None
        if tokenizer is not None:
            tokenizer._handle.retire()
        self._forward = self._keep = None
        self._methods = []

    def _end(self) -> None:
        self.close()


class _Loaded:
    """A method, and the program that it is of."""

    def __init__(self, program: Any, name: str) -> None:
        self._keep = program
        self._method = program.load_method(name)

    def execute(self, inputs: Sequence[Any]) -> Any:
        return self._method.execute(inputs)


class _Varying:
    """A program of layout A with its cache."""

    def __init__(self, torch: Any, path: str, method: Any, facts: ModelFacts, max_context: Optional[int]) -> None:
        self._torch = torch
        self._method = method
        self._facts = facts
        meta = method.metadata
        self._n_kv = meta.num_inputs() - 2
        if self._n_kv < 2 or self._n_kv % 2 or meta.num_outputs() != 1 + self._n_kv:
            raise UnsupportedError(f"{path} has {meta.num_inputs()} inputs and {meta.num_outputs()} outputs; "
                                   "expected tokens, positions and a pair of caches a layer (docs/EXPORT.md)")
        self._max_context = min(max_context or facts.max_context, facts.max_context)
        shape = [int(n) for n in meta.input_tensor_meta(2).sizes()]
        self._row = shape[1:]
        per_row = self._row[0] * self._row[1]
        self._cache = [self._torch.zeros(self._max_context * per_row + _SLACK)[:self._max_context * per_row]
                       .view(self._max_context, *self._row) for _ in range(self._n_kv)]
        self._stored = [False] * self._max_context

    def __call__(self, call: ForwardCall) -> Any:
        self._check(call)
        torch, n = self._torch, len(call.ids)
        fresh: List[List[Any]] = []  # keys and values of this call's earlier blocks
        logits = []
        for begin, end in self._groups(call):
            out = self._run(call, begin, end, fresh)
            rows = [r - begin for r in call.rows if begin <= r < end]
            if rows:
                logits.append(out[0][rows].clone())
            fresh.append([t.clone() for t in out[1:]])
        for layer, cache in enumerate(self._cache):
            new = torch.cat([part[layer] for part in fresh])
            cache[call.start:call.start + call.n_store] = new[:call.n_store]
        for position in range(call.start, call.start + min(n, call.n_store)):
            self._stored[position] = True
        return torch.cat(logits) if logits else torch.empty(0, self._facts.vocab_size)

    def _check(self, call: ForwardCall) -> None:
        if not call.ids or call.start < 0 or call.start + len(call.ids) > self._max_context:
            raise ValueError(f"positions {call.start} to {call.start + len(call.ids) - 1} do not fit the context of "
                             f"{self._max_context}")
        for i in call.ids:
            if not 0 <= i < self._facts.vocab_size:
                raise ValueError(f"id {i} is outside the vocabulary of {self._facts.vocab_size}")
        for begin, end in call.context:
            if not all(self._stored[begin:end]) or end > self._max_context:
                raise ValueError(f"the context [{begin}, {end}) was never stored")

    @staticmethod
    def _groups(call: ForwardCall) -> List[Tuple[int, int]]:
        """Row ranges that see the same things: attention blocks, or everything."""
        n, width = len(call.ids), call.attn_block
        if width <= 0:
            return [(0, n)]
        edges = [0, *(i for i in range(1, n) if (call.start + i) % width == 0), n]
        return list(zip(edges, edges[1:]))

    def _run(self, call: ForwardCall, begin: int, end: int, fresh: Sequence[Sequence[Any]]) -> Any:
        torch = self._torch
        first, width = call.start + begin, call.attn_block
        limit = (first // width + 1) * width if width > 0 else self._max_context
        spans = [(a, min(b, limit)) for a, b in call.context if a < limit]
        if not fresh and len(spans) <= 1:
            a, b = spans[0] if spans else (0, 0)
            cached = [t[a:b] for t in self._cache]  # a view: the cache goes in without a copy
        else:
            cached = [self._join([t[a:b] for a, b in spans] + [part[layer] for part in fresh])
                      for layer, t in enumerate(self._cache)]
        return self._method.execute([torch.tensor(call.ids[begin:end], dtype=torch.long),
                                     torch.arange(first, call.start + end), *cached])

    def _join(self, parts: Sequence[Any]) -> Any:
        rows, per_row = sum(len(p) for p in parts), self._row[0] * self._row[1]
        joined = self._torch.empty(rows * per_row + _SLACK)[:rows * per_row].view(rows, *self._row)
        self._torch.cat(list(parts), out=joined)
        return joined
