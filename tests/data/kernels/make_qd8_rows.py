"""Writes qd8_rows.bin: float32 rows and their dynamic int8 quantisation, computed with PyTorch in float32.

Per row, little-endian: uint32 n, float32 scale, int32 zero point, float32 x[n], int8 q[n].
The rule is XNNPACK's (src/xnnpack/quantization.h): see qd8_row below. Run in this folder; needs torch.
"""

import struct

import torch


def qd8_row(x):
    lo, hi = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
    up = torch.tensor(1.0) if hi == lo else torch.tensor(255.0) / (hi - lo)
    from_lo, from_hi = -128.0 + lo * up, 127.0 + hi * up
    zero = (-128.0 - lo * up if from_lo + from_hi > 0 else 127.0 - hi * up).clamp(-128.0, 127.0).round()
    q = (torch.round(x * up) + zero).clamp(-128, 127).to(torch.int8)
    return q, 1.0 / up, int(zero)


def rows():
    g = torch.Generator().manual_seed(7)
    for n in (1, 2, 3, 5, 16, 31, 32, 33, 64, 96, 100, 257):
        yield torch.randn(n, generator=g)
        yield torch.randn(n, generator=g) * 1e-3 + 5.0
        yield torch.randn(n, generator=g).exp()
        yield -torch.rand(n, generator=g) - 1.0
        outlier = torch.randn(n, generator=g)
        outlier[n // 2] = 300.0
        yield outlier
        yield torch.randint(-255, 256, (n,), generator=g) * 0.5
        yield torch.randint(-20, 21, (n,), generator=g) * 1.0
        yield torch.full((n,), -7.25)
        yield torch.zeros(n)
        yield torch.randn(n, generator=g) * 1e20
    yield torch.cat([torch.tensor([-127.5, 127.5]), torch.arange(-40, 41) * 0.5])
    yield torch.cat([torch.tensor([0.0, 255.0]), torch.arange(0, 80) * 0.5])


with open("qd8_rows.bin", "wb") as f:
    for x in rows():
        q, scale, zero = qd8_row(x)
        f.write(struct.pack("<Ifi", x.numel(), float(scale), zero) + x.numpy().tobytes() + q.numpy().tobytes())
