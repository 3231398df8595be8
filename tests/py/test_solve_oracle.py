"""Solvers of src/solve against PyTorch in double precision: Hessians, factors, the published GPTQ loop, clipped scales,
AWQ's search."""
import os
import subprocess
from pathlib import Path

import pytest

from oracles import not_here, oracle

torch = oracle("torch", "solvers of quantised weights are")
BUILD = os.environ.get("DLX_BUILD_DIR")
if not BUILD:
    not_here("DLX_BUILD_DIR does not name a build folder")
PROGRAM = Path(BUILD).resolve() / "tests" / "solve_files"

N, K, ROWS = 48, 256, 900


def layer(seed):
    """Inputs that depend on each other, some of them large; weights about normal."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, K // 4, generator=g) @ torch.randn(K // 4, K, generator=g) / (K // 4) ** 0.5
    x = x + 0.3 * torch.randn(ROWS, K, generator=g) + 0.5 * torch.randn(ROWS, 1, generator=g)
    x[:, 7::29] *= 8
    return x.contiguous(), (0.03 * torch.randn(N, K, generator=g)).contiguous()


class Solved:
    def __init__(self, folder, x, w, bits, group, clip=0, act_order=0, static_groups=0, damping=0.01):
        (folder / "x").write_bytes(x.numpy().tobytes())
        (folder / "w").write_bytes(w.numpy().tobytes())
        words = [folder, N, K, ROWS, bits, group, clip, act_order, static_groups, damping]
        done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

        def read(name, kind, *shape):
            return torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=kind).reshape(shape)
        self.bits, self.group = bits, group or K
        self.hessian = read("hessian", torch.float32, K, K).double()
        self.factor = read("factor", torch.float32, K, K).double().tril()
        self.order = read("order", torch.int32, K).long()
        self.codes, self.rounded = (read(name, torch.int8, N, K).double() for name in ("codes", "rounded"))
        self.scales, self.rounded_scales = (read(name, torch.float32, N, K // self.group).double()
                                            for name in ("scales", "rounded_scales"))
        self.awq = read("awq", torch.float32, K)
        self.damp, self.error, self.energy, self.exponent, self.awq_error, self.awq_before = read(
            "numbers", torch.float64, 6).tolist()

    def restored(self):
        return self.codes * self.scales.repeat_interleave(self.group, 1)


def top(bits):
    return 2 ** (bits - 1) - 1


def scales_of(w, bits, grouped, share=1.0):
    """max / 127 or / 7 over the last dimension of float32 w, as files store it."""
    scale = w.abs().amax(-1) / torch.tensor(float(top(bits))) * torch.tensor(share, dtype=torch.float32)
    return (scale.bfloat16().float() if grouped else scale).clamp(min=2 ** -126)


def on_grid(w, scale, bits):
    return (w / scale).round().clamp(-top(bits) - 1, top(bits))


def published_gptq(x, w, order, damp, bits, group, moving):
    """The loop of the paper: one column after the other, by the upper Cholesky factor of the inverse."""
    x, w = x.double(), w.double().clone()
    h = (x.T @ x)[order][:, order] + damp * torch.eye(K, dtype=torch.float64)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    span = group or K
    scales = scales_of(w.float().reshape(N, K // span, span), bits, group > 0).double()
    w, q = w[:, order], torch.zeros(N, K, dtype=torch.float64)
    for i in range(K):
        column = int(order[i])
        if moving and column % span == 0:
            scales[:, column // span] = scales_of(w[:, i:i + span].float(), bits, True).double()
        scale = scales[:, column // span]
        q[:, i] = on_grid(w[:, i], scale, bits)
        error = (w[:, i] - q[:, i] * scale) / upper[i, i]
        w[:, i:] -= error[:, None] * upper[i, i:][None]
    codes = torch.empty_like(q)
    codes[:, order] = q
    return codes, scales


def test_hessian_and_factor(tmp_path):
    x, w = layer(1)
    for act_order in (0, 1):
        s = Solved(tmp_path, x, w, 8, 0, act_order=act_order)
        h = x.double().T @ x.double()
        assert (s.hessian - h).abs().max() < 1e-6 * h.diagonal().max()
        assert s.damp == pytest.approx(0.01 * float(h.diagonal().mean()), rel=1e-5)
        want = torch.linalg.cholesky(h[s.order][:, s.order] + s.damp * torch.eye(K, dtype=torch.float64))
        assert (s.factor - want).norm() < 2e-5 * want.norm()
        if act_order:
            assert (h.diagonal()[s.order].diff() >= 0).all()
        else:
            assert s.order.tolist() == list(range(K - 1, -1, -1))


@pytest.mark.parametrize("bits, group, act_order, static_groups", [
    (8, 0, 0, 0), (4, 0, 0, 0), (4, 0, 1, 0), (4, 32, 0, 0), (4, 32, 0, 1), (4, 32, 1, 0), (4, 128, 0, 0)])
def test_gptq(tmp_path, bits, group, act_order, static_groups):
    x, w = layer(2)
    s = Solved(tmp_path, x, w, bits, group, act_order=act_order, static_groups=static_groups)
    moving = group > 0 and not act_order and not static_groups
    codes, scales = published_gptq(x, w, s.order.flip(0), s.damp, bits, group, moving)
    same = (codes == s.codes).all(1) & (scales == s.scales).all(1)
    assert same.double().mean() >= 0.9, "a row may differ where a double lies on the other side of an edge"
    answers = x.double() @ w.double().T
    error = ((answers - x.double() @ s.restored().T) ** 2).sum()
    assert s.energy == pytest.approx(float((answers ** 2).sum()), rel=1e-5)
    assert s.error == pytest.approx(float(error), rel=1e-3)
    rounded = s.rounded * s.rounded_scales.repeat_interleave(s.group, 1)
    assert error < 0.4 * ((answers - x.double() @ rounded.T) ** 2).sum()


@pytest.mark.parametrize("bits, group", [(4, 0), (4, 32), (8, 0)])
def test_clipping(tmp_path, bits, group):
    x, w = layer(3)
    s = Solved(tmp_path, x, w, bits, group, clip=1)
    parts = w.reshape(N, K // s.group, s.group)
    errors, scales = [], []
    for i in range(21):
        scale = scales_of(parts, bits, group > 0, (40 - i) / 40)
        errors.append(((parts - on_grid(parts, scale[..., None], bits) * scale[..., None]).double() ** 2).sum(-1))
        scales.append(scale)
    errors, scales = torch.stack(errors), torch.stack(scales)
    taken = s.rounded_scales.float()
    assert ((scales == taken).any(0)).all()
    got = (parts - on_grid(parts, taken[..., None], bits) * taken[..., None]).double().pow(2).sum(-1)
    assert (got <= errors.amin(0) * 1.0001).all()
    assert torch.equal(on_grid(parts, taken[..., None], bits).reshape(N, K).double(), s.rounded)


@pytest.mark.parametrize("group", [0, 32])
def test_awq(tmp_path, group):
    x, w = layer(4)
    s = Solved(tmp_path, x, w, 4, group)
    magnitude, answers, errors = x.double().abs().mean(0), x.double() @ w.double().T, []
    for i in range(21):
        scale = magnitude ** (i / 20)
        scale = (scale / (scale.max() * scale.min()).sqrt()).float()
        parts = (w * scale).reshape(N, K // s.group, s.group)
        step = scales_of(parts, 4, group > 0)[..., None]
        restored = (on_grid(parts, step, 4) * step).reshape(N, K) / scale
        errors.append(float((((answers - x.double() @ restored.double().T) ** 2).sum() / (answers ** 2).sum())))
        if i == round(s.exponent * 20):
            assert (s.awq / scale - 1).abs().max() < 1e-5
    assert s.awq_before == pytest.approx(errors[0], rel=1e-3)
    assert s.awq_error == pytest.approx(min(errors), rel=1e-3)
    assert errors[round(s.exponent * 20)] == pytest.approx(min(errors), rel=1e-3)
