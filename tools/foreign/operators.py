"""Programs of operators of every kind, with and without a delegate."""
import torch
import torch.nn.functional as F

from foreign.registry import Function, batch, floats, ids, program


@program(lambda: [floats((3, 4), (3, 4), (4,)), floats((3, 4), (3, 4), (4,), seed=2)], lowering="portable")
def arithmetic():
    def f(a, b, c):
        x = (a + b * 2.0 - c) / (b.abs() + 1.5)
        y = torch.maximum(a, b) - torch.minimum(a, c) + torch.add(a, b, alpha=0.5) - torch.sub(b, c, alpha=2)
        z = a.clamp(-0.5, 0.75).pow(3) + b.pow(2).sqrt() + 1.0 / (a.square() + 1) + (3.0 - a) + torch.rsqrt(b * b + 1)
        w = torch.exp(-a.abs()) + torch.log(b.abs() + 1) + torch.sin(a) * torch.cos(b) + torch.erf(c)
        v = torch.floor(a * 3) + torch.ceil(b * 3) + torch.round(a * 5) + torch.sign(b) + torch.trunc(b * 4)
        return x, y, z, w, v, a.reciprocal(), torch.fmod(a, 0.7), torch.remainder(b, 0.7), torch.pow(b.abs(), a)
    return Function(f)


@program(lambda: [(ids(3, 4, high=9) - 4, ids(4, seed=2, high=5) + 1, *floats((3, 4)))], lowering="portable")
def integers():
    def f(a, b, x):
        less, equal = a < b, a == 2
        both = (less & ~equal) | (a > 3) ^ (b >= 4)
        return (a + b * 2 - 1, a // b, a % b, both, (a * b).to(torch.float32) + x, less.to(torch.int64).sum(-1),
                torch.where(both, x, x.new_tensor(-2.0)), a.neg().abs().clamp(0, 3), x.to(torch.int32), (x > 0).any(-1),
                (a != b).all(), a.cumsum(1), torch.logical_and(less, a), torch.logical_not(a), a.max(), a.amin(0),
                a.to(torch.uint8), x.to(torch.bool), torch.bitwise_and(a, b), a.bool().to(torch.int32))
    return Function(f)


@program(lambda: [floats((2, 3, 4))], lowering="portable")
def shapes():
    def f(x):
        a, b = x.split([1, 3], dim=2)
        parts = torch.unbind(x, 1)
        y = torch.cat([x, x.flip(2), x[:, 1:, :], x[:, :2]], 1)
        s = torch.stack([parts[0], parts[2], parts[1]], 1)
        return (a.squeeze(-1), b.transpose(0, 2), y, s, x.unsqueeze(1).expand(2, 5, 3, 4), x[:, ::2, 1::2],
                x.permute(2, 0, 1).reshape(4, -1), x.repeat(1, 2, 1), x.repeat_interleave(2, 1), x.select(1, -1),
                torch.cat([x[..., :1]] * 7, -1), x.flatten(1).unflatten(1, (2, 6)), x.roll(1, 2), x.tril(),
                F.pad(x, (1, 2, 0, 1), value=0.5), x.chunk(2, -1)[1], x.narrow(2, 1, 2), x.new_zeros(2, 2) + 1)
    return Function(f)


@program(lambda: [(*floats((4, 6)), ids(3, high=4), ids(4, 2, high=6, seed=3))], lowering="portable")
def gathers():
    def f(x, rows, columns):
        y = x.clone()
        y[rows] = x.new_ones(3, 6)
        z = x.masked_fill(x > 0.3, float("-inf"))
        return (x[rows], x[:, rows], x.gather(1, columns), x.index_select(0, rows), y, z,
                x[rows, rows], x.scatter(1, columns, 2.5), torch.topk(x, 3)[0], x.index_put((rows,), x[:3], True),
                x.scatter(1, columns, x), torch.topk(x, 2)[1], x.argmin(0), x.max(1)[0], x.min(0)[1])
    return Function(f)


@program(lambda: [floats((3, 5), seed=s) for s in (1, 2)], lowering="portable")
def reductions():
    def f(x):
        return (x.mean(), x.mean(0), x.mean((0, 1), keepdim=True), x.sum(-1), x.sum((0, 1)), x.var(1), x.var(0, correction=0),
                x.amax((0, 1)), x.amin(1, keepdim=True), x.argmax(), x.argmax(1, keepdim=True), x.softmax(0), x.prod(1),
                x.log_softmax(0), x.std(1), x.norm(dim=1), x.cumsum(0))
    return Function(f)


@program(lambda: [floats((n, 6), seed=n) for n in (2, 7)], lowering="portable",
         dynamic=lambda: ({0: batch(2, 8)},))
def computed_sizes():
    """Sizes that follow the input through arithmetic: masks, ranges, filled tensors, views."""
    def f(x):
        n = x.shape[0]
        positions = torch.arange(n)
        mask = torch.full((n, n), float("-inf")).triu(1)
        later = torch.arange(2 * n + 1, 3 * n + 1, dtype=torch.float32)
        ones = torch.ones(n, 2) * (n - 1)
        wide = x.view(n * 2, 3).sum(1) + torch.zeros(2 * n)
        return positions[:, None] <= positions[None], (x @ x.t() + mask).softmax(-1), later, ones, wide, x.expand(3, n, 6)
    return Function(f)


@program(lambda: [(torch.tensor([2]), *floats((3, 6))), (torch.tensor([5]), *floats((3, 6), seed=2))], lowering="portable")
def computed_positions():
    """A position read out of a tensor: narrow, arithmetic, comparison."""
    table = torch.arange(60, dtype=torch.float32).view(10, 6)

    def f(position, x, table):
        p = position.item()
        torch._check(p >= 0)
        torch._check(p <= 7)
        return table.narrow(0, p, 3) + x, torch.arange(3) + p, x * p, torch.full((2,), 1.0) * (p - 2)
    return Function(f, table=table)


@program(lambda: [floats((2, 3, 5), (2, 5, 4), (5, 4), (4,))], lowering="portable")
def matrices():
    def f(a, b, c, d):
        return (torch.bmm(a, b), a @ c, torch.addmm(d, a[0], c), torch.addmm(d, a[0], c, beta=0.5, alpha=2), a[0] @ b[0],
                torch.matmul(a[0], c[:, 0]), F.linear(a, c.t(), d), torch.einsum("bij,bjk->bik", a, b))
    return Function(f)


@program(lambda: [floats((2, 3, 5), (2, 5, 4), (5, 4), (4,))])
def matrices_xnnpack():
    weight, bias = floats((5, 4), (4,), seed=9)

    def f(a, b, c, d, weight, bias):
        return (torch.bmm(a, b), a @ weight, torch.addmm(bias, a[0], weight), a[0] @ c, torch.addmm(d, a[0], c),
                F.linear(a, weight.t(), bias), F.linear(a, weight.t(), d))
    return Function(f, weight=weight, bias=bias)


@program(lambda: [floats((2, 3, 6), (2, 3, 6))])
def arithmetic_xnnpack():
    def f(a, b):
        x = torch.maximum(a, b) * torch.sigmoid(b) - torch.minimum(a, b) / (b.abs() + 2)
        y = F.relu(a) + F.hardtanh(b, -0.5, 0.5) + torch.tanh(a) + F.gelu(b) + torch.exp(-a) + F.leaky_relu(b, 0.1)
        z = torch.rsqrt(a * a + 1) + torch.sqrt(b.abs()) + (-a).floor() + b.ceil() + a.square() + torch.log(a.abs() + 1)
        w = torch.cat([x, y, z], -1).permute(0, 2, 1).reshape(2, -1, 6)[:, 1:5]
        return w.softmax(-1), F.elu(a) + F.hardswish(b), torch.sin(a) + torch.cos(b), a.clamp(max=0.2) + b.clamp(min=0.1)
    return Function(f)
