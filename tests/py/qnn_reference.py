"""What a program for Qualcomm's chips with weights of 8 or 4 bits has to answer, in numpy: the weights as the chip has them,
everything else in floats, where the chip has grids of 16 bits."""
import numpy as np

from scheme_reference import F32, Reference, codes

STEPS, TINY = 16, np.finfo(F32).tiny


def in_steps(w, group=32):
    """4-bit weights [n, k] with a scale for each group of a row, which is 1 to 16 times one of the row's: codes follow their
    scale to the nearest of those, so that the numbers stay as near as they can."""
    q, scale = codes(w, 7, -8, 7, group)
    row = np.maximum(scale.max(1) / F32(STEPS), TINY)[:, None]
    times = np.clip(np.rint(scale / row), 1, STEPS)
    q = np.clip(np.rint(q.reshape(*scale.shape, group) * (scale / (times * row))[:, :, None]), -8, 7)
    return (q * times[:, :, None] * row[:, :, None]).reshape(w.shape)


class QnnReference(Reference):
    """A checkpoint as a16w8, a16w4 or a16w4-g32."""

    def __init__(self, folder, scheme, **options):
        super().__init__(folder, "int8-weight-only", **options)
        self.chip = scheme

    def linear(self, short, x, layer=None):
        if layer is None or self.chip == "a16w8":
            return super().linear(short, x, layer)
        w = self.tensor(short, layer)
        if self.chip == "a16w4-g32":
            numbers = in_steps(w)
        else:
            q, scale = codes(w, 7, -8, 7)
            numbers = q * scale
        return x @ numbers.astype(self.dtype).T + self.wide(self.tensor(short, layer, ".bias"))

    def forward_function(self):
        """For diffulex_edge.generate: everything up to the last row of a call is computed anew in each."""
        timeline = []

        def call(c):
            assert c.start <= len(timeline) and c.context in ([], [(0, c.start)])
            timeline[c.start:] = c.ids
            self.shape.block = c.attn_block
            return self.forward(timeline)[[c.start + r for r in c.rows]]
        return call
