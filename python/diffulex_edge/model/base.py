"""Sizes of models: plain records under the original's names. A .pte states what matters of them itself (inspect)."""
import dataclasses
from typing import Any, Dict, Mapping, Optional, Tuple

__all__ = ["DreamEdgeConfig", "FastDLLMv2EdgeConfig", "FastdLLMV2EdgeConfig", "LLaDAEdgeConfig", "ModelConfig",
           "SDAREdgeConfig", "detect_model_type"]


@dataclasses.dataclass
class ModelConfig:
    """Sizes and switches of a model, with the names of config.json."""

    vocab_size: int = 32000
    hidden_size: int = 2048
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    intermediate_size: int = 5504
    max_position_embeddings: int = 32768
    rope_theta: float = 1e4
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    head_dim: Optional[int] = None  # hidden_size // num_attention_heads
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads

    def to_dict(self) -> Dict[str, Any]:
        """By name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass
class FastDLLMv2EdgeConfig(ModelConfig):
    """A Fast-dLLM v2 model's sizes."""

    vocab_size: int = 151936
    hidden_size: int = 1536
    num_attention_heads: int = 12
    num_key_value_heads: int = 2
    intermediate_size: int = 8960
    rope_theta: float = 1e6
    attention_bias: bool = True
    tie_word_embeddings: bool = True
    mask_token_id: int = 151665
    pad_token_id: int = 151643
    bd_size: int = 32


FastdLLMV2EdgeConfig = FastDLLMv2EdgeConfig


@dataclasses.dataclass
class DreamEdgeConfig(ModelConfig):
    """A Dream model's sizes."""

    vocab_size: int = 152064
    hidden_size: int = 3584
    num_attention_heads: int = 28
    num_key_value_heads: int = 4
    intermediate_size: int = 18944
    max_position_embeddings: int = 131072
    rope_theta: float = 1e6
    attention_bias: bool = True
    mask_token_id: int = 151666
    pad_token_id: int = 151643


@dataclasses.dataclass
class LLaDAEdgeConfig(ModelConfig):
    """The published LLaDA: every head has its own keys and values, and the vocabulary holds the mask."""

    vocab_size: int = 126464
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    intermediate_size: int = 12288
    max_position_embeddings: int = 4096
    rope_theta: float = 5e5
    rms_norm_eps: float = 1e-5
    mask_token_id: int = 126336


@dataclasses.dataclass
class SDAREdgeConfig(ModelConfig):
    """An SDAR model's sizes."""

    vocab_size: int = 151936
    intermediate_size: int = 6144
    max_position_embeddings: int = 4096
    rope_theta: float = 1e6
    mask_token_id: int = 151669
    pad_token_id: int = 151643
    diffusion_block_size: int = 4


def detect_model_type(hf_config: Mapping[str, Any]) -> str:
    """The family that a config.json names: "llada", "dream", "sdar", "fast_dllm_v2"; ValueError when it is none of
    them."""
    names: Tuple[str, ...] = (*(hf_config.get("architectures") or ()), str(hf_config.get("model_type") or ""))
    for name in (n.lower() for n in names):
        if "fast" in name and "dllm" in name:
            return "fast_dllm_v2"
        for family in ("dream", "llada", "sdar"):
            if family in name:
                return family
    raise ValueError(f"config.json names the architectures {hf_config.get('architectures')} and model_type "
                     f"{hf_config.get('model_type')!r}; expected LLaDA, Dream, SDAR or Fast-dLLM v2")
