"""The engines: DiffusionEngine decodes by masked diffusion, InferenceEngine one token after the other."""
import contextlib
import dataclasses
import inspect
import operator
import random
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Sequence, Tuple

from diffulex_edge._native import PathLike
from diffulex_edge.decode import (
    ForwardCall,
    Generation,
    ModelFacts,
    OnStep,
    Step,
    check_options,
    decode_options,
    generate,
)
from diffulex_edge.decode import _to_ids as to_ids
from diffulex_edge.running import leave
from diffulex_edge.session import Model
from diffulex_edge.streams import Feed

from .block import DiffusionBlockManager
from .block_decoder import BlockDecoder
from .config import (
    DEFAULT_MODEL_TYPE,
    MASK_TOKEN_IDS,
    DiffusionGenerationConfig,
    GenerationConfig,
    check_settings,
    diffusion_settings,
    given,
)
from .forward import SequenceForward, session_forward
from .sampler.models import BlockSampler, get_sampler_class

__all__ = ["DiffusionEngine", "DiffusionGenerationConfig", "GenerationConfig", "InferenceEngine"]

MODEL_TYPES = ("fast_dllm_v2", "llada", "dream", "sdar")
RUNTIMES = ("native", "executorch")
_ANY_CONTEXT = 1 << 20  # of a callable that names no limit
_MOST_PASSES = 1 << 20  # that the option takes


class _Engine:
    """What both engines are: a model behind a forward function, and its facts."""

    def __init__(self, model: Any, pte_path: Optional[PathLike], device: str, model_type: str,
                 max_seq_len: Optional[int], use_kv_cache: bool, runtime: str, facts: Optional[ModelFacts]) -> None:
        if model_type not in MODEL_TYPES and model_type != "fast_dllm":
            raise ValueError(f"Unknown model_type: {model_type}. Available: {list(MODEL_TYPES)}")
        if model is not None and pte_path is not None:
            raise ValueError("Cannot provide both model and pte_path")
        if model is None and pte_path is None:
            raise ValueError("Must provide either model or pte_path")
        if runtime not in RUNTIMES:
            raise ValueError(f"Unknown runtime: {runtime}. Available: {list(RUNTIMES)}")
        if pte_path is not None and str(device) != "cpu":
            raise ValueError(f"device {str(device)!r} was given; a .pte runs on the CPU: leave device out")
        self.model = model
        self.pte_path = None if pte_path is None else Path(pte_path)
        self.device = device
        self.runtime = runtime
        self.max_seq_len = max_seq_len
        self.use_kv_cache = use_kv_cache and pte_path is None
        self.last_generation: Optional[Generation] = None  # of the last call: steps, times, finish reason
        self._is_pte = pte_path is not None
        self._pte_module: Any = None
        self._session: Any = None    # a Session or FixedSession
        self._forward: Any = None    # a Session, or a callable for ForwardCall
        self._facts: Optional[ModelFacts] = facts  # None: a callable whose vocabulary shows with its first logits
        if pte_path is not None:
            self._open(self.pte_path)
            self.model_type = self._agreed_type(model_type)
        else:
            if hasattr(model, "eval") and hasattr(model, "parameters"):
                model.eval()
            self.model_type = "fast_dllm_v2" if model_type == "fast_dllm" else str(model_type)
            self._forward = model if facts is not None else SequenceForward(model, device)

    def _open(self, path: Any) -> None:
        if self.runtime == "executorch":
            from .executorch import ExecuTorchModel
            self._pte_module = ExecuTorchModel(path, self.max_seq_len)
            self._facts = self._pte_module.facts
        else:
            self._pte_module = Model(path)
            self._facts = self._pte_module.facts
        facts = self._facts
        if self.max_seq_len is not None and not 0 < self.max_seq_len <= facts.max_context:
            limit = facts.max_context
            self.close()
            raise ValueError(f"max_seq_len {self.max_seq_len} was asked for, but {path} was exported for {limit} "
                             "positions")
        if self.runtime == "native":
            self._session = self._forward = self._pte_module.session(0, self.max_seq_len or 0)
        elif self._pte_module.fixed:
            self._session = self._forward = self._pte_module.session()
        else:
            self._forward = self._pte_module
        if self.max_seq_len is not None:
            self._facts = dataclasses.replace(facts, max_context=self.max_seq_len)

    def _agreed_type(self, model_type: str) -> str:
        assert self._facts is not None
        wanted = "fast_dllm_v2" if model_type == "fast_dllm" else str(model_type)
        if self._facts.family == "unknown":
            return wanted
        if given(model_type) and wanted != self._facts.family:
            family = self._facts.family
            self.close()
            raise ValueError(f"model_type {wanted!r} was given, but {self.pte_path} holds a {family} model; leave "
                             "model_type out, or give the right one")
        return self._facts.family

    @property
    def facts(self) -> Optional[ModelFacts]:
        """What the decoder knows about the model; None for a callable before its first call."""
        return self._facts

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        if self._forward is None:
            raise ValueError("the engine is closed")
        yield

    def _known_facts(self, mask_id: int, probe: Sequence[int]) -> ModelFacts:
        """Facts with the mask id that counts; those of a callable are collected now."""
        facts = self._facts
        if facts is None or (facts.family == "unknown" and not facts.attn_block and not facts.logits_shift):
            facts = self._facts_of_type(facts or self._facts_of_callable(probe))
        if mask_id >= 0 and mask_id != facts.mask_id:
            facts = dataclasses.replace(facts, mask_id=mask_id)
        return facts

    def _facts_of_callable(self, probe: Sequence[int]) -> ModelFacts:
        config = getattr(self.model, "config", self.model)
        vocab = getattr(config, "vocab_size", None)
        if not isinstance(vocab, int):
            from ._rows import shape_of
            vocab = shape_of(self._forward.run(list(probe) or [0], 0))[1]
        context = self.max_seq_len or getattr(config, "max_position_embeddings", None)
        context = context if isinstance(context, int) else _ANY_CONTEXT
        self._facts = ModelFacts(vocab_size=vocab, max_context=context, max_rows=context, mask_id=-1)
        return self._facts

    def _facts_of_type(self, facts: ModelFacts) -> ModelFacts:
        """The switches of a family, where neither file nor caller states them."""
        config = getattr(self.model, "config", self.model)

        def number(names: Sequence[str], otherwise: int) -> int:
            values = (getattr(config, name, None) for name in names)
            return next((v for v in values if isinstance(v, int) and v > 0), otherwise)
        block = 32
        if self.model_type == "sdar":   # a program of the original's takes a block per call
            block = number(("diffusion_block_size", "block_size"), facts.block_length or 4)
        elif self.model_type == "fast_dllm_v2":
            block = number(("bd_size",), facts.block_length or 32)
        blocks = self.model_type in ("sdar", "fast_dllm_v2")
        return dataclasses.replace(
            facts, family=self.model_type, attn_block=block if blocks else 0, block_length=block,
            logits_shift=int(self.model_type in ("fast_dllm_v2", "dream")),
            small_block_size=8 if self.model_type == "fast_dllm_v2" and block % 8 == 0 else 0)

    def _start_id(self, facts: ModelFacts) -> int:
        """What stands in for an empty prompt."""
        for i in (facts.bos_id, facts.pad_id, facts.eos_id, *facts.stop_ids):
            if 0 <= i < facts.vocab_size:
                return i
        if not self._is_pte and facts.vocab_size > 0:
            return 0    # a callable names none
        raise ValueError("the prompt is empty, and the model names no token to begin with; give at least one token id")

    def close(self) -> None:
        """Frees the session and closes the file; the engine cannot be used afterwards. Closing twice is fine."""
        if self._pte_module is not None:
            self._pte_module.close()
        self._session = self._forward = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        leave(self.close, error)


def _stand_in(vocab: int) -> int:
    """The mask id of a callable that names none, and whose vocabulary does not hold its family's: the published one that
    fits, or the last id."""
    mask = max((i for i in MASK_TOKEN_IDS.values() if i < vocab), default=vocab - 1)
    warnings.warn(f"the model names no mask token, and its vocabulary of {vocab} is too small for its family's; id {mask} "
                  "stands in. Give its own as mask_token_id", stacklevel=5)
    return mask


def _seed(seed: Optional[int]) -> int:
    return random.getrandbits(53) if seed is None else operator.index(seed)


def _ids(prompt: Any) -> List[int]:
    if hasattr(prompt, "tolist"):
        prompt = prompt.tolist()
    ids = list(prompt) if hasattr(prompt, "__iter__") else prompt
    if hasattr(ids, "__len__") and len(ids) == 1 and isinstance(ids[0], (list, tuple)):
        ids = list(ids[0])
    native, n = to_ids(ids)
    return list(native[:n])


def _options_of(algorithm: str) -> FrozenSet[str]:
    return frozenset(o.name for o in decode_options() if o.algorithms == ("all",) or algorithm in o.algorithms)


# ---- diffusion -------------------------------------------------------------------------------------------------------

class DiffusionEngine(_Engine):
    """Decodes by masked diffusion: generate(prompt ids, DiffusionGenerationConfig) -> prompt and generated ids.

    model         a callable: ids -> logits of the whole sequence (see SequenceForward); or, with `facts`, a forward
                  function ForwardCall -> rows of logits
    pte_path      a .pte
    device        where a torch module lives; a .pte runs on the CPU
    model_type    "fast_dllm_v2", "llada", "dream", "sdar"; a .pte states its own, and another one is refused
    max_seq_len   context length; None: the file's
    use_kv_cache  for callables with `facts` and algorithm "blocks"; a .pte always caches where that is exact
    runtime       "native", or "executorch": the official runtime, where it is installed
    shift_logits  True, False: row i-1 of the logits predicts position i, whatever the file says; the decoding algorithm
                  is then the one for such models

    FileNotFoundError when there is no such file, RuntimeError for a damaged one, ImportError when the official runtime
    is missing, ValueError for contradicting arguments. A context manager; used by one thread at a time.
    """

    def __init__(self, model: Any = None, pte_path: Optional[PathLike] = None, device: str = "cpu",
                 model_type: str = DEFAULT_MODEL_TYPE, max_seq_len: Optional[int] = None, use_kv_cache: bool = True, *,
                 runtime: str = "native", facts: Optional[ModelFacts] = None,
                 shift_logits: Optional[bool] = None) -> None:
        super().__init__(model, pte_path, device, model_type, max_seq_len, use_kv_cache, runtime, facts)
        self.shift_logits = shift_logits
        mask = MASK_TOKEN_IDS[self.model_type]
        if self._facts is not None and self._facts.mask_id >= 0:
            mask = self._facts.mask_id
        self.block_manager = DiffusionBlockManager(mask)
        self.sampler: Optional[BlockSampler] = None  # of the last generate with algorithm "blocks"
        self.sampler_class = get_sampler_class(self.model_type)

    @classmethod
    def from_model(cls, model: Any, device: str = "cpu", model_type: str = DEFAULT_MODEL_TYPE,
                   use_kv_cache: bool = True, *, max_seq_len: Optional[int] = None,
                   facts: Optional[ModelFacts] = None, shift_logits: Optional[bool] = None) -> "DiffusionEngine":
        """An engine over a callable; see the class."""
        return cls(model=model, device=device, model_type=model_type, max_seq_len=max_seq_len,
                   use_kv_cache=use_kv_cache, facts=facts, shift_logits=shift_logits)

    @classmethod
    def from_pte(cls, pte_path: PathLike, device: str = "cpu", model_type: str = DEFAULT_MODEL_TYPE,
                 max_seq_len: Optional[int] = None, runtime: str = "native", *,
                 shift_logits: Optional[bool] = None) -> "DiffusionEngine":
        """An engine over a .pte; see the class."""
        return cls(pte_path=pte_path, device=device, model_type=model_type, max_seq_len=max_seq_len, runtime=runtime,
                   shift_logits=shift_logits)

    def generate(self, prompt_tokens: Sequence[int],
                 config: "Optional[DiffusionGenerationConfig | GenerationConfig]" = None, *,
                 on_step: Optional[OnStep] = None) -> List[int]:
        """Prompt ids and generated ids, at most config.max_new_tokens, cut before the first stop id, no mask id.

        on_step   called as on_step(step, ids) after every pass; returning False ends the decode with what is known
        """
        return self._decode(_ids(prompt_tokens), diffusion_settings(config), lambda *_: on_step)

    def _decode(self, prompt: List[int], config: DiffusionGenerationConfig,
                watch: Callable[[ModelFacts, int], Optional[OnStep]]) -> List[int]:
        """generate; watch(facts, first position of the answer) gives on_step."""
        check_settings(config)
        if config.max_new_tokens <= 0:
            return prompt
        with self._at_work():
            facts = self._facts_for(config, prompt)
            start = prompt or [self._start_id(facts)]
            on_step = watch(facts, len(start))
            options = None if config.algorithm == "blocks" else self._options(config, facts)
            if options is None:
                self.last_generation = self._generate_blocks(start, config, facts, on_step)
            else:
                self.last_generation = generate(self._forward, start, facts=facts, on_step=on_step, options=options)
        return prompt + self.last_generation.answer_ids

    def generate_stream(self, prompt_tokens: Sequence[int],
                        config: "Optional[DiffusionGenerationConfig | GenerationConfig]" = None
                        ) -> Iterator[Tuple[int, int]]:
        """(place in what generate returns, id) of its tokens, in their order: each as soon as all before it are known,
        because a stop id among those ends the answer."""
        prompt, settings = _ids(prompt_tokens), diffusion_settings(config)
        end = len(prompt) + settings.max_new_tokens

        def work(emit: Callable[[Any], bool]) -> List[int]:
            place = len(prompt)

            def watch(facts: ModelFacts, begin: int) -> OnStep:
                known: Dict[int, int] = {}
                shift = begin - len(prompt)     # an empty prompt begins with a token that is not returned
                stops = {*facts.stop_ids, facts.mask_id}

                def on_step(step: Step, _: List[int]) -> bool:
                    nonlocal place
                    known.update((a.position, a.id) for a in step.accepted)
                    while place < end and known.get(place + shift, facts.mask_id) not in stops:
                        if not emit((place, known[place + shift])):
                            return False
                        place += 1
                    return True
                own = settings.options.keys() & {"stop_ids", "stop_id", "stop_token"}
                return (lambda *_: True) if own else on_step    # the end of those is known at the end
            result = self._decode(prompt, settings, watch)
            for i in range(place, len(result)):
                if not emit((i, result[i])):
                    break
            return result
        return _iterate(work, self._pte_module)

    # ---- facts and options

    def _facts_for(self, config: DiffusionGenerationConfig, prompt: Sequence[int]) -> ModelFacts:
        mask = config.mask_token_id if given(config.mask_token_id) else self.block_manager.mask_token_id
        facts = self._known_facts(mask, prompt)
        if facts.mask_id >= facts.vocab_size and not self._is_pte and not given(config.mask_token_id) and \
                mask == MASK_TOKEN_IDS[self.model_type]:
            facts = dataclasses.replace(facts, mask_id=_stand_in(facts.vocab_size))
        if facts.mask_id < 0 or facts.mask_id >= facts.vocab_size:
            raise ValueError(f"mask id {facts.mask_id} is outside the vocabulary of {facts.vocab_size}; give the "
                             "model's own as mask_token_id")
        shift = self.shift_logits if config.shift_logits is None else config.shift_logits
        if shift is not None:
            facts = dataclasses.replace(facts, logits_shift=int(shift))
        return dataclasses.replace(facts, stop_ids=self._stop_ids(config, facts))

    @staticmethod
    def _stop_ids(config: DiffusionGenerationConfig, facts: ModelFacts) -> Tuple[int, ...]:
        ids = list(facts.stop_ids if config.stop_ids is None else config.stop_ids)
        if given(config.eos_token_id):
            ids.insert(0, config.eos_token_id)  # type: ignore[arg-type]
        return tuple(i for i in dict.fromkeys(_ids(ids)) if 0 <= i < facts.vocab_size)

    def _options(self, config: DiffusionGenerationConfig, facts: ModelFacts) -> Optional[Dict[str, Any]]:
        """Decode options for the family's published algorithm, or the one that is named; None where the config asks for
        something that the published one does not have, and the block sampler does."""
        algorithm = config.algorithm or _published(config, facts)
        known = _options_of(algorithm)
        # None stands for: only what the published algorithm lacks.
        wanted: Dict[str, Any] = {
            "algorithm": algorithm, "published": False, "max_new_tokens": config.max_new_tokens,
            "temperature": config.temperature, "seed": _seed(config.seed), "stop_ids": list(facts.stop_ids),
        }
        if "max_passes" in known and (config.algorithm is None or given(config.num_iterations)):
            wanted["max_passes"] = _most_passes(config, facts, algorithm)
        if config.algorithm is None and not self._add_schedule(config, facts, algorithm, wanted):
            return None
        if "threshold" in known:
            wanted["threshold"] = config.confidence_threshold
        if "early_stop" in known:
            wanted["early_stop"] = config.early_stop
        drawn = config.temperature > 0
        if "top_k" in known:
            wanted["top_k"] = min(config.top_k, facts.vocab_size)
        elif drawn and config.top_k > 0:
            return None
        if "top_p" in known:
            wanted["top_p"] = float(config.top_p)
        elif drawn and config.top_p < 1:
            return None
        wanted.update(config.options)
        return wanted

    @staticmethod
    def _add_schedule(config: DiffusionGenerationConfig, facts: ModelFacts, algorithm: str,
                      out: Dict[str, Any]) -> bool:
        """Block length and ranking for a published algorithm; False where it cannot do what is asked."""
        ranked = config.margin_confidence or config.neg_entropy
        block = config.block_size if given(config.block_size) else None
        if block is not None and block < 1:
            raise ValueError(f"block_size {block} was given; at least 1 is needed")
        if algorithm == "dream.diffusion_generate":
            out["alg"] = "entropy" if config.neg_entropy else "topk_margin"
            return True
        if ranked:
            return False
        if algorithm == "sdar.generate":
            out["block_length"] = block or facts.block_length or 4
        elif algorithm == "fast_dllm_v2.generate":
            # The attention's blocks stay as trained; smaller ones are revealed inside them.
            if block is not None and block < facts.attn_block:
                if facts.attn_block % block:
                    return False
                out["small_block_size"] = block
        elif block is not None:
            out["block_length"] = block
        return True

    # ---- the block sampler

    def _generate_blocks(self, prompt: List[int], config: DiffusionGenerationConfig, facts: ModelFacts,
                         on_step: Optional[OnStep]) -> Generation:
        if config.options:
            check_options(config.options)
            raise ValueError(f"the block sampler has no option {next(iter(config.options))!r}; name an algorithm that has")
        if len(prompt) + config.max_new_tokens > facts.max_context:
            raise ValueError(f"{len(prompt)} prompt tokens and {config.max_new_tokens} new ones do not fit the context "
                             f"of {facts.max_context}")
        decoder = self._block_decoder(prompt, config, facts)
        steps: List[Step] = []
        reason = "length"
        for step in decoder.run(prompt):
            steps.append(step)
            if on_step is not None and on_step(step, list(decoder.canvas)) is False:
                reason = "cancelled"
                break
        answer: List[int] = []
        for i in decoder.canvas[len(prompt):]:
            if i in decoder.stop_ids:
                reason = "stop"
                break
            if i != facts.mask_id:
                answer.append(i)
        while decoder.canvas and decoder.canvas[-1] == facts.mask_id:
            decoder.canvas.pop()
        return Generation(algorithm="blocks", prompt_length=len(prompt), output_ids=decoder.canvas, answer_ids=answer,
                          finish_reason=reason, num_forwards=decoder.num_forwards, steps=steps)

    def _block_decoder(self, prompt: Sequence[int], config: DiffusionGenerationConfig,
                       facts: ModelFacts) -> BlockDecoder:
        manager = self.block_manager
        manager.reset()
        manager.mask_token_id = facts.mask_id
        size = config.block_size if given(config.block_size) else facts.block_length or config.block_size
        if size < 1:
            raise ValueError(f"block_size {size} was given; at least 1 is needed")
        manager.create_blocks(len(prompt), config.max_new_tokens, size, config.confidence_threshold)
        keywords: Dict[str, Any] = {
            "mask_token_id": facts.mask_id, "threshold": config.confidence_threshold, "temperature": config.temperature,
            "top_k": config.top_k, "top_p": config.top_p, "margin_confidence": config.margin_confidence,
            "neg_entropy": config.neg_entropy,
        }
        if "threshold" not in inspect.signature(self.sampler_class).parameters:
            del keywords["threshold"]
        self.sampler = self.sampler_class(**keywords)
        self.sampler.use_shift(bool(facts.logits_shift))
        self.sampler.never = facts.mask_id
        self.sampler.known = facts.num_tokens
        self.sampler.rng = random.Random(_seed(config.seed))
        forward = session_forward(self._session) if self._session is not None else self._forward
        return BlockDecoder(forward, facts, self.sampler, manager, num_iterations=config.num_iterations,
                            use_kv_cache=self.use_kv_cache or self._is_pte, stop_ids=facts.stop_ids)


def _published(config: DiffusionGenerationConfig, facts: ModelFacts) -> str:
    """The decoding algorithm that was published for a model with these switches, in the form that takes a threshold."""
    if facts.attn_block:
        return "fast_dllm_v2.generate" if facts.logits_shift else "sdar.generate"
    if not facts.logits_shift:
        return "llada.generate_fast"
    ranked = config.margin_confidence or config.neg_entropy
    return "dream.diffusion_generate" if ranked else "dream.generate_blocks"


def _most_passes(config: DiffusionGenerationConfig, facts: ModelFacts, algorithm: str) -> int:
    """num_iterations as the decode option max_passes. For dream.diffusion_generate, which has no blocks, as many passes as
    the blocks of the answer would take."""
    passes = max(1, int(config.num_iterations))
    if algorithm == "dream.diffusion_generate":
        block = config.block_size if given(config.block_size) else facts.block_length or 32
        passes *= -(-config.max_new_tokens // max(1, block))
    return min(passes, _MOST_PASSES)


def _iterate(work: Callable[[Callable[[Any], bool]], Any], *scopes: Any) -> Iterator[Any]:
    feed = Feed(work, *scopes)
    try:
        while True:
            try:
                item = feed.next()
            except StopIteration:
                return
            yield item
    finally:
        feed.close()


def _family_or_cache(model_type: "str | bool", use_kv_cache: bool) -> Tuple[str, bool]:
    """Where the original's last revision has model_type, its first one has use_kv_cache: True or False mean that."""
    if isinstance(model_type, bool):
        return DEFAULT_MODEL_TYPE, model_type
    return model_type, use_kv_cache


# ---- one token after the other ---------------------------------------------------------------------------------------

class InferenceEngine(_Engine):
    """Decodes autoregressively: generate(prompt ids, GenerationConfig) -> generated ids only.

    Takes the arguments of DiffusionEngine; True or False in the place of model_type are use_kv_cache. Any .pte can be decoded this way: attention is causal, one token a pass,
    with an exact cache. Models of this system are trained for diffusion; DiffusionEngine is how they answer best.
    """

    def __init__(self, model: Any = None, pte_path: Optional[PathLike] = None, device: str = "cpu",
                 model_type: "str | bool" = DEFAULT_MODEL_TYPE, max_seq_len: Optional[int] = None,
                 use_kv_cache: bool = True, *, runtime: str = "native", facts: Optional[ModelFacts] = None) -> None:
        family, use_kv_cache = _family_or_cache(model_type, use_kv_cache)
        super().__init__(model, pte_path, device, family, max_seq_len, True, runtime, facts)
        self.use_kv_cache = use_kv_cache
        self._current_pos = 0
        self._kv_cache: Any = None

    @classmethod
    def from_model(cls, model: Any, device: str = "cpu", model_type: "str | bool" = DEFAULT_MODEL_TYPE,
                   use_kv_cache: bool = True, *, facts: Optional[ModelFacts] = None,
                   max_seq_len: Optional[int] = None) -> "InferenceEngine":
        """An engine over a callable; see the class."""
        return cls(model=model, device=device, model_type=model_type, use_kv_cache=use_kv_cache, facts=facts,
                   max_seq_len=max_seq_len)

    @classmethod
    def from_pte(cls, pte_path: PathLike, device: str = "cpu", model_type: "str | bool" = DEFAULT_MODEL_TYPE,
                 max_seq_len: Optional[int] = None, *, use_kv_cache: bool = True,
                 runtime: str = "native") -> "InferenceEngine":
        """An engine over a .pte; see the class."""
        return cls(pte_path=pte_path, device=device, model_type=model_type, use_kv_cache=use_kv_cache,
                   max_seq_len=max_seq_len, runtime=runtime)

    def generate(self, prompt_tokens: Sequence[int], config: Optional[GenerationConfig] = None, *,
                 on_token: Optional[Callable[[int], Optional[bool]]] = None) -> List[int]:
        """Generated ids without the prompt. The id that ended the answer is the last one, and so is the sequence of
        config.stop_sequences that did.

        on_token   called with every id; returning False ends the answer
        """
        prompt, config = _ids(prompt_tokens), config or GenerationConfig()
        check_settings(config)
        if config.max_new_tokens <= 0:
            return []
        sequences = [list(s) for s in getattr(config, "stop_sequences", None) or []]
        with self._at_work():
            facts = self._ar_facts(prompt)
            start = prompt or [self._start_id(facts)]

            def on_step(step: Step, ids: List[int]) -> bool:
                for a in step.accepted:
                    if on_token is not None and on_token(a.id) is False:
                        return False
                return not self._check_stop_sequences(ids[len(start):], sequences)
            stop_ids = self._stop_ids(config, facts)
            self.last_generation = generate(
                self._forward, start, facts=dataclasses.replace(facts, stop_ids=stop_ids), on_step=on_step,
                options={"algorithm": "ar.generate", "published": False, "max_new_tokens": config.max_new_tokens,
                         "temperature": config.temperature, "top_k": min(config.top_k, facts.vocab_size),
                         "top_p": float(config.top_p), "stop_ids": list(stop_ids),
                         "seed": _seed(getattr(config, "seed", None)),
                         "repetition_penalty": getattr(config, "repetition_penalty", 1.0)})
        generated = [a.id for step in self.last_generation.steps for a in step.accepted]
        self._current_pos = len(start) + len(generated)
        self._kv_cache = self._forward
        return generated

    def generate_stream(self, prompt_tokens: Sequence[int], config: Optional[GenerationConfig] = None) -> Iterator[int]:
        """generate, id by id. Closing the iterator ends the decode."""
        return _iterate(lambda emit: self.generate(prompt_tokens, config, on_token=emit), self._pte_module)

    def _ar_facts(self, prompt: Sequence[int]) -> ModelFacts:
        if self._facts is None:
            # A callable without facts: a plain causal model, whose last row predicts the next token.
            self._facts = dataclasses.replace(self._facts_of_callable(prompt), attn_block=1, logits_shift=1)
        return self._facts

    def _stop_ids(self, config: Any, facts: ModelFacts) -> Tuple[int, ...]:
        ids = list(facts.stop_ids)
        eos = getattr(config, "eos_token_id", None)
        if eos is not None and (given(eos) or not (self._is_pte or ids)):
            ids.insert(0, int(eos))
        return tuple(i for i in dict.fromkeys(ids) if 0 <= i < facts.vocab_size)

    @staticmethod
    def _check_stop_sequences(tokens: Sequence[int], stop_sequences: Sequence[Sequence[int]]) -> bool:
        """Whether the tokens end with one of the sequences."""
        return any(len(s) and len(s) <= len(tokens) and list(tokens[-len(s):]) == list(s) for s in stop_sequences)

    def _apply_repetition_penalty(self, logits: Any, tokens: Sequence[int], penalty: float) -> Any:
        """Logits [vocab] with those of earlier tokens divided (positive) or multiplied (others) by the penalty."""
        out = logits.clone() if hasattr(logits, "clone") else logits.copy()
        for i in set(int(t) for t in tokens):
            out[i] = out[i] / penalty if out[i] > 0 else out[i] * penalty
        return out

    # ---- step by step

    def reset_cache(self) -> None:
        """Forgets what was decoded."""
        if self._session is not None:
            self._session.truncate(0)
        self._current_pos = 0
        self._kv_cache = None

    def _rows(self, ids: List[int], start: int, rows: List[int]) -> Any:
        forward = session_forward(self._session) if self._session is not None else self._forward
        return forward(ForwardCall(ids=ids, start=start, context=[(0, start)] if start else [], attn_block=1,
                                   n_store=len(ids), rows=rows))

    def _prefill(self, input_ids: Any) -> Tuple[Any, Any]:
        """ids [1, n] from position 0 on -> (logits [1, n, vocab], the cache)."""
        ids = _ids(input_ids)
        with self._at_work():
            self._ar_facts(ids)
            logits = self._rows(ids, 0, list(range(len(ids))))
        self._current_pos, self._kv_cache = len(ids), self._forward
        return (logits[None] if hasattr(logits, "shape") else [logits]), self._kv_cache

    def _decode_step(self, token_id: int) -> Tuple[Any, Any]:
        """The next id -> (logits [vocab], the cache)."""
        with self._at_work():
            logits = self._rows([int(token_id)], self._current_pos, [0])
        self._current_pos += 1
        return logits[0], self._kv_cache

    def benchmark(self, prompt_length: int = 128, generate_length: int = 100, warmup: int = 3,
                  runs: int = 10) -> Dict[str, Any]:
        """Times of a prompt and of tokens behind it, the mean of some runs: prefill_ms, decode_ms, tokens_per_sec,
        prefill_tokens, decode_tokens."""
        with self._at_work():
            facts = self._ar_facts([0])
        prompt = [i % facts.vocab_size for i in range(max(1, prompt_length))]
        prefill, decode = [], []
        for run in range(max(0, warmup) + max(1, runs)):
            started = time.perf_counter()
            self._prefill(prompt)
            between = time.perf_counter()
            for i in range(generate_length):
                self._decode_step(prompt[i % len(prompt)])
            if run >= warmup:
                prefill.append((between - started) * 1e3)
                decode.append((time.perf_counter() - between) * 1e3)
        self.reset_cache()
        mean = sum(decode) / len(decode)
        return {"prefill_ms": sum(prefill) / len(prefill), "decode_ms": mean,
                "tokens_per_sec": generate_length / (mean / 1e3) if mean else 0.0,
                "prefill_tokens": prompt_length, "decode_tokens": generate_length}
