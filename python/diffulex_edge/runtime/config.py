"""Generation settings under the original's names."""
import dataclasses
import operator
from typing import Any, Dict, List, Mapping, Optional, Sequence

from diffulex_edge.decode import check_options
from diffulex_edge.errors import LibraryNotFoundError

from .sampler.token import GreedySampler, Sampler, TopPSampler

__all__ = ["DiffusionGenerationConfig", "GenerationConfig", "MASK_TOKEN_IDS", "check_settings", "diffusion_settings", "given"]

# Mask ids of the published checkpoints; what a file or a model says itself comes first.
MASK_TOKEN_IDS = {"fast_dllm_v2": 151665, "dream": 151666, "llada": 126336, "sdar": 151669}


class _Default:
    """Marks a default value, so that a value the caller gave can be told from it."""


class _IntDefault(_Default, int):
    pass


class _FloatDefault(_Default, float):
    pass


class _StrDefault(_Default, str):
    pass


DEFAULT_MODEL_TYPE = _StrDefault("fast_dllm_v2")


def given(value: Any) -> bool:
    """Whether a setting was given by the caller."""
    return value is not None and not isinstance(value, _Default)


class DiffusionGenerationConfig:
    """Settings of DiffusionEngine.generate.

    max_new_tokens        length of the answer, at most; it ends earlier at a stop id
    num_iterations        passes a block, at most; the last one reveals every mask that is left. With a named algorithm it
                          counts only when it is given
    block_size            tokens that become known together; not given: the model's own block length
    confidence_threshold  a pass reveals every token that is surer than this
    temperature           0: the likeliest tokens; higher: draws
    top_k, top_p          filters of the draws; 0 and 1 switch them off
    mask_token_id         not given: the file's, or that of the published checkpoints of model_type
    eos_token_id          when given, ends the answer besides the file's own stop ids; the default of 2 is not used
    model_type            kept for the caller; the file or the engine decides
    margin_confidence     rank by the distance of the two largest probabilities
    neg_entropy           rank by negative entropy

    By keyword only:
    early_stop    stop when a stop id is known and everything before it
    seed          of the draws; None: another one each time
    stop_ids      ids that end the answer instead of the file's; [] for none
    algorithm     "blocks": the original's block sampler; or a name of the decode option `algorithm`
    shift_logits  True, False: overrides what file and engine say about row i-1 predicting position i
    options       further decode options by name (diffulex_edge.decode_options lists them), passed on as they are
    """

    def __init__(self, max_new_tokens: int = 100, num_iterations: int = _IntDefault(10),
                 block_size: int = _IntDefault(4), confidence_threshold: float = 0.95, temperature: float = 1.0,
                 top_k: int = 0, top_p: float = 1.0,
                 mask_token_id: Optional[int] = None, eos_token_id: Optional[int] = _IntDefault(2),
                 model_type: str = "fast_dllm_v2", margin_confidence: bool = False, neg_entropy: bool = False, *,
                 early_stop: bool = True, seed: Optional[int] = None, stop_ids: Optional[Sequence[int]] = None,
                 algorithm: Optional[str] = None, shift_logits: Optional[bool] = None,
                 options: Optional[Mapping[str, Any]] = None) -> None:
        self.max_new_tokens = max_new_tokens
        self.num_iterations = num_iterations
        self.block_size = block_size
        self.confidence_threshold = confidence_threshold
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        if mask_token_id is None:
            mask_token_id = _IntDefault(MASK_TOKEN_IDS.get(model_type, MASK_TOKEN_IDS["fast_dllm_v2"]))
        self.mask_token_id: int = mask_token_id
        self.eos_token_id = eos_token_id
        self.model_type = model_type
        self.margin_confidence = margin_confidence
        self.neg_entropy = neg_entropy
        self.early_stop = early_stop
        self.seed = seed
        self.stop_ids = stop_ids
        self.algorithm = algorithm
        self.shift_logits = shift_logits
        self.options: Dict[str, Any] = dict(options or {})

    def __repr__(self) -> str:
        return f"DiffusionGenerationConfig({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


@dataclasses.dataclass
class GenerationConfig:
    """Settings of InferenceEngine.generate; DiffusionEngine takes it, too.

    In the original's last revision this is another name of DiffusionGenerationConfig, in its first one it is not. So it
    has the settings of both: those of the first in their order, the others by name. DiffusionEngine takes from it what was
    given, and its own defaults for the rest; it refuses repetition_penalty and stop_sequences, which it does not have.

    max_new_tokens      length of the answer, at most
    temperature         0: the likeliest token; higher: draws
    top_k, top_p        filters of the draws; 0 and 1 switch them off
    repetition_penalty  divides positive logits of earlier tokens, multiplies the others
    stop_sequences      lists of token ids; the answer ends behind the first that occurs
    pad_token_id        kept for the caller
    eos_token_id        when given, ends the answer besides the file's own stop ids; the default of 2 counts only for a
                        model without a file
    stream              kept for the caller: generate_stream streams
    seed                of the draws; None: another one each time
    the others          for DiffusionEngine: see DiffusionGenerationConfig
    """

    max_new_tokens: int = 100
    temperature: float = 1.0
    top_k: int = _IntDefault(50)
    top_p: float = _FloatDefault(0.9)
    repetition_penalty: float = 1.0
    stop_sequences: Optional[List[List[int]]] = None
    pad_token_id: int = 0
    eos_token_id: Optional[int] = _IntDefault(2)
    stream: bool = False
    seed: Optional[int] = None
    num_iterations: int = _IntDefault(10)
    block_size: int = _IntDefault(4)
    confidence_threshold: float = _FloatDefault(0.95)
    mask_token_id: Optional[int] = None
    model_type: str = _StrDefault("fast_dllm_v2")
    margin_confidence: bool = False
    neg_entropy: bool = False
    early_stop: bool = True
    stop_ids: Optional[Sequence[int]] = None
    algorithm: Optional[str] = None
    shift_logits: Optional[bool] = None
    options: Optional[Mapping[str, Any]] = None

    def get_sampler(self, seed: Optional[int] = None) -> Sampler:
        """Greedy at temperature 0, else a TopPSampler."""
        if self.temperature == 0:
            return GreedySampler()
        return TopPSampler(self.top_p, self.temperature, seed=self.seed if seed is None else seed)


def diffusion_settings(config: Any) -> DiffusionGenerationConfig:
    """The configuration that DiffusionEngine was given, as its own. TypeError for other objects."""
    if config is None:
        return DiffusionGenerationConfig()
    if isinstance(config, DiffusionGenerationConfig):
        return config
    if not isinstance(config, GenerationConfig):
        raise TypeError(f"config is a {type(config).__name__}; expected DiffusionGenerationConfig or GenerationConfig")
    for name, none in (("repetition_penalty", 1.0), ("stop_sequences", None)):
        if getattr(config, name) not in (none, []):
            raise ValueError(f"{name} {getattr(config, name)!r} was given, which InferenceEngine has and masked diffusion "
                             "does not; leave it out")
    shared = vars(DiffusionGenerationConfig())
    return DiffusionGenerationConfig(**{
        name: value for name, value in vars(config).items()
        if name in shared and value is not None and not isinstance(value, _Default)})


def check_settings(config: Any) -> None:
    """ValueError for numbers that no algorithm takes, in the library's words; what is 0 and means "off" is fine."""
    for name in ("max_new_tokens", "num_iterations", "block_size", "top_k", "seed", "mask_token_id"):
        value = getattr(config, name, None)
        try:
            if value is not None and operator.index(value) < 0:
                raise TypeError
        except TypeError:
            raise ValueError(f"{name} is {value!r}; expected a whole number, 0 or more") from None
    numbers = {"temperature": "temperature", "top_p": "top_p", "confidence_threshold": "threshold",
               "repetition_penalty": "repetition_penalty"}
    try:
        check_options({option: float(value) for name, option in numbers.items()
                       if (value := getattr(config, name, None)) is not None})
    except LibraryNotFoundError:
        pass    # decoders in Python alone say what they cannot use
