"""Parts that the LLaDA and the SDAR layout share."""
import torch
import torch.nn as nn
from safetensors.torch import load_file


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return y.to(x.dtype) * self.weight.to(x.dtype)


def rotary_tables(head_dim, positions, theta):
    """cos and sin [positions, head_dim / 2]; element i of a head is paired with i + head_dim / 2."""
    half = head_dim // 2
    freq = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * freq
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def load_weights(net, folder, int8, embedding):
    """fp32 network of the weights in a checkpoint folder (a Path), ready to decode; int8: every matrix but the one whose
    name has `embedding` in it becomes symmetric int8 rows (scale = max|row| / 127)."""
    weights = {k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}
    for name, w in weights.items():
        if int8 and w.ndim == 2 and embedding not in name:
            scale = w.abs().amax(1, keepdim=True) / 127
            scale[scale == 0] = 1
            weights[name] = (w / scale).round().clamp(-128, 127) * scale
    net.load_state_dict(weights)
    return net.eval()
