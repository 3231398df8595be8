"""The optimiser both models are trained with: Muon for the matrices of the layers, and a moving average of the weights."""
import torch


class Muon:
    """Momentum orthogonalised by five Newton-Schulz steps; matrices of equal shape are processed together."""

    def __init__(self, params, momentum=0.95, weight_decay=0.02, dtype=torch.bfloat16):
        """dtype: of the Newton-Schulz steps; take the one whose products are faster on the machine at hand."""
        self.momentum, self.weight_decay, self.dtype, shapes = momentum, weight_decay, dtype, {}
        for p in params:
            shapes.setdefault(tuple(p.shape), []).append(p)
        units = [ps[i:i + 6] for ps in shapes.values() for i in range(0, len(ps), 6)]     # shared out to the threads
        self.units = [(unit, torch.stack([torch.zeros_like(p) for p in unit])) for unit in units]

    def state_dict(self):
        return [buf for _, buf in self.units]

    def load_state_dict(self, state):
        for (_, buf), saved in zip(self.units, state, strict=True):
            buf.copy_(saved)

    def orthogonalise(self, g, steps=5):
        tall = g.shape[1] > g.shape[2]
        x = (g.mT if tall else g).to(self.dtype)
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(steps):
            a = x @ x.mT
            b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
            x = torch.baddbmm(x, b, x, beta=3.4445)
        return (x.mT if tall else x).float()

    def step_unit(self, unit, lr):
        with torch.no_grad():
            params, buf = unit
            g = torch.stack([p.grad for p in params])
            buf.lerp_(g, 1 - self.momentum)
            update = self.orthogonalise(g.lerp(buf, self.momentum))
            scale = lr * max(1.0, g.shape[1] / g.shape[2]) ** 0.5
            for p, u in zip(params, update):
                p.mul_(1 - lr * self.weight_decay).add_(u, alpha=-scale)

    def step(self, lr, pool):
        list(pool.map(lambda unit: self.step_unit(unit, lr), self.units))


def update_ema(ema, net, step, decay=0.998):
    """Move the averaged weights towards those of the network; the first steps count less than the decay says."""
    decay = min(decay, step / (step + 20))
    torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
