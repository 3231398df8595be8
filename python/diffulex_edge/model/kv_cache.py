"""A container for keys and values, on torch or numpy. The engines keep their caches themselves."""
import dataclasses
from typing import Any, Optional, Tuple

__all__ = ["KVCache", "KVCacheConfig", "create_kv_caches"]


@dataclasses.dataclass
class KVCacheConfig:
    """dtype: of torch or of numpy; None: float32 of torch where it is installed, else of numpy."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    max_seq_len: int
    dtype: Any = None


def _zeros(shape: Tuple[int, ...], dtype: Any) -> Any:
    if dtype is None or type(dtype).__module__ == "torch":
        try:
            import torch
            return torch.zeros(shape, dtype=dtype or torch.float32)
        except ImportError:
            if dtype is not None:
                raise
    try:
        import numpy
    except ImportError as error:
        raise ImportError("KVCache needs torch or numpy; neither is installed") from error
    return numpy.zeros(shape, dtype=dtype or numpy.float32)


class KVCache:
    """`cache` [layers, 2, batch, kv_heads, max_seq_len, head_dim]; 0 keys, 1 values. `current_seq_len` positions are
    filled."""

    def __init__(self, config: KVCacheConfig, batch_size: int = 1) -> None:
        self.config = config
        self.batch_size = batch_size
        shape = (config.num_layers, 2, batch_size, config.num_kv_heads, config.max_seq_len, config.head_dim)
        self.cache = _zeros(shape, config.dtype)
        self.current_seq_len = 0

    def get_layer_cache(self, layer_idx: int) -> Tuple[Any, Any]:
        """(keys, values), each [batch, kv_heads, max_seq_len, head_dim]; views."""
        return self.cache[layer_idx, 0], self.cache[layer_idx, 1]

    def update_layer_cache(self, layer_idx: int, new_k: Any, new_v: Any, start_pos: Optional[int] = None) -> None:
        """Writes [batch, kv_heads, n, head_dim] at start_pos (default: behind what is there)."""
        start = self.current_seq_len if start_pos is None else start_pos
        end = start + new_k.shape[2]
        if not 0 <= start <= end <= self.config.max_seq_len:
            raise ValueError(f"positions {start} to {end - 1} do not fit the cache of {self.config.max_seq_len}")
        self.cache[layer_idx, 0, :, :, start:end] = new_k
        self.cache[layer_idx, 1, :, :, start:end] = new_v
        self.current_seq_len = max(self.current_seq_len, end)

    def get_cache_tensor(self) -> Any:
        """The whole cache as one array [layers, 2, batch, kv heads, positions, head_dim]."""
        return self.cache

    @classmethod
    def from_tensor(cls, tensor: Any, config: KVCacheConfig, current_seq_len: int = 0) -> "KVCache":
        """Takes over an array of the shape of `cache`."""
        cache = cls.__new__(cls)
        cache.config, cache.batch_size = config, int(tensor.shape[2])
        cache.cache, cache.current_seq_len = tensor, current_seq_len
        return cache

    def clear(self) -> None:
        """Forgets everything."""
        self.cache[...] = 0
        self.current_seq_len = 0


def create_kv_caches(config: KVCacheConfig, batch_size: int = 1) -> KVCache:
    """An empty cache for a model of these sizes."""
    return KVCache(config, batch_size)
