"""The processes of turns.py: each holds one runtime with one model, and makes one pass when it is asked to."""
import hashlib
import json
import os
import sys
import time

from lesser_cpu import pretend
from passes import CHUNK, Passes


class Native:
    """The native runtime; rows see each other, as in a block."""

    def __init__(self, path, threads, context, cpu=""):
        self.passes = Passes(path, int(threads), int(context), cpu or None)
        self.about = {"kernels": self.passes.model.kernels}

    def run(self, rows, context):
        return self.passes.forward(context, rows, False, True)

    def logits(self, rows):
        return bytes(self.passes.logits_of(rows))


class Official:
    """The stock ExecuTorch runtime over the same file, with the cache in torch tensors that go in by pointer. cpu: a kernel set of
    ours, beyond whose instructions the CPU has none, as far as this runtime is told."""

    def __init__(self, path, threads, context, cpu=""):
        import torch
        hidden = pretend(cpu) if cpu else []
        from executorch.extension.pybindings import _portable_lib
        from executorch.runtime import Runtime, Verification
        self.torch = torch
        _portable_lib._unsafe_reset_threadpool(int(threads))
        self.program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        self.method = self.program.load_method("forward")
        meta = self.method.metadata
        self.ids = ids_of(self.program)
        shape, context = list(meta.input_tensor_meta(2).sizes()), int(context)
        self.cache = [torch.zeros(shape) for _ in range(meta.num_inputs() - 2)]
        for start in range(0, context, CHUNK):
            n = min(CHUNK, context - start)
            for cache, new in zip(self.cache, self.call(start, n)[1:]):
                cache[start:start + n] = new
        self.about = {"hidden": hidden}

    def call(self, start, n):
        torch = self.torch
        return self.method.execute([torch.tensor(self.ids[start:start + n]), torch.arange(start, start + n)]
                                   + [c[:start] for c in self.cache])

    def run(self, rows, context):
        begin = time.perf_counter()
        self.last = self.call(context, rows)[0]
        return (time.perf_counter() - begin) * 1e3

    def logits(self, rows):
        return self.last.numpy().tobytes()


class Kept(Official):
    """The stock runtime over a program that keeps its cache: tokens and positions in, logits out. --kv state of our export
    takes any number of rows as [1, T]; `plain` programs of torch_decoder.py take CHUNK of them as [T]."""

    def __init__(self, path, threads, context, plain="", vocabulary=0):
        import torch
        from executorch.extension.pybindings import _portable_lib
        from executorch.runtime import Runtime, Verification
        self.torch, self.plain = torch, plain == "plain"
        _portable_lib._unsafe_reset_threadpool(int(threads))
        self.program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        self.method = self.program.load_method("forward")
        self.ids = arbitrary(int(vocabulary), 4096) if self.plain else ids_of(self.program)
        for start in range(0, int(context), CHUNK):
            self.call(start, CHUNK)
        self.about = {}

    def call(self, start, n):
        torch = self.torch
        ids = torch.tensor(self.ids[start:start + n])
        out = self.method.execute([ids if self.plain else ids[None], torch.arange(start, start + n)])
        return [out[0] if self.plain else out[0][0]]


class Compiled:
    """PyTorch, compiled with frozen weights, without a cache: LAYERS of the decoder's layers and its head, each compiled
    alone; the time of the layers counts as often as there are more of them."""

    LAYERS = 4

    def __init__(self, folder, threads, kind):
        import torch
        import torch._inductor.config
        from torch_decoder import Decoder
        self.torch, self.kind = torch, getattr(torch, kind)
        torch.set_num_threads(int(threads))
        torch.set_grad_enabled(False)
        torch._inductor.config.freezing = True
        self.decoder = Decoder(folder, layers=self.LAYERS).eval().to(self.kind)
        self.times = self.decoder.count / len(self.decoder.layers)
        self.body, self.head, self.warm = torch.compile(self.decoder.body, dynamic=False), torch.compile(self.decoder.head, dynamic=False), set()
        self.about = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}

    def run(self, rows, context):
        torch = self.torch
        x, positions = torch.randn(rows, self.decoder.embed.shape[1]).to(self.kind), torch.arange(rows)
        for _ in range(0 if rows in self.warm else 3):
            self.head(self.body(x, positions))
        self.warm.add(rows)
        begin = time.perf_counter()
        h = self.body(x, positions)
        between = time.perf_counter()
        self.head(h)
        return ((between - begin) * self.times + time.perf_counter() - between) * 1e3


def arbitrary(vocabulary, n):
    """Token ids, the same for whoever asks."""
    return [(i * 2654435761 >> 8) % vocabulary for i in range(n)]


def ids_of(program):
    vocabulary = program.load_method("get_vocab_size").execute([])[0]
    return arbitrary(vocabulary, 4096)


KINDS = {"native": Native, "official": Official, "kept": Kept, "compiled": Compiled}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)   # what libraries print is no answer
    kind = KINDS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(kind.about), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        said = {"ms": kind.run(asked["rows"], asked["context"])}
        if asked.get("digest"):
            said["digest"] = hashlib.sha256(kind.logits(asked["rows"])).hexdigest()[:16]
        if asked.get("logits"):
            with open(asked["logits"], "wb") as out:
                out.write(kind.logits(asked["rows"]))
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
