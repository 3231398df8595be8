"""Decode options as typed keywords, so that type checkers and editors know them.

Written by tools/make_python_options.py from the library's table (src/diffusion/options.c); not to be edited. None leaves an
option unset. docs/DECODING.md explains each.
"""
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    from .constraint import Constraint, Schema
else:
    from typing import TypedDict

__all__ = ["DecodeOptions", "GenerateOptions"]


class DecodeOptions(TypedDict, total=False):
    """What generate(), complete() and stream() take by name, besides their own arguments."""

    # decoding algorithm (default: the model family's) [every algorithm]
    algorithm: Optional[str]
    # algorithm and acceptance rules that belong together, for the quantisation of the file; other options win over
    # it (default: none) [every algorithm]
    preset: Optional[str]
    # keep the published code's own lengths and stop rules, to the pass (default: true when an algorithm is named)
    # [every algorithm]
    published: Optional[bool]
    # length of the answer, 0 to fill only the prompt's masks (default 128, less where the context ends) [every
    # algorithm]
    max_new_tokens: Optional[int]
    # LLaDA's and SDAR's name for max_new_tokens; LLaDA then wants whole blocks, as published [every algorithm]
    gen_length: Optional[int]
    # tokens a block (default: the model's) [llada.generate, llada.generate_fast, dream.generate_blocks,
    # sdar.generate, fast_dllm_v2.generate]
    block_length: Optional[int]
    # Fast-dLLM v2's name for block_length [llada.generate, llada.generate_fast, dream.generate_blocks,
    # sdar.generate, fast_dllm_v2.generate]
    block_size: Optional[int]
    # tokens revealed from left to right inside a block (default: the model's) [fast_dllm_v2.generate]
    small_block_size: Optional[int]
    # denoising steps over all blocks (default: one for each new token) [llada.generate, llada.generate_fast,
    # dream.diffusion_generate, dream.generate_blocks]
    steps: Optional[int]
    # denoising steps a block (default: block_length) [sdar.generate]
    denoising_steps: Optional[int]
    # most denoising passes a block (dream.diffusion_generate: an answer); the last one reveals every mask that is
    # left (default: no bound) [llada.generate, llada.generate_fast, dream.diffusion_generate,
    # dream.generate_blocks, sdar.generate, fast_dllm_v2.generate]
    max_passes: Optional[int]
    # 0: the likeliest token; higher: draws (default 0) [every algorithm]
    temperature: Optional[float]
    # keep the k likeliest tokens; 0: all (default 0) [dream.diffusion_generate, dream.generate_blocks,
    # sdar.generate, ar.generate]
    top_k: Optional[int]
    # keep the likeliest tokens up to this mass; 1: all (default 1; fast_dllm_v2 0.95, used above temperature 0)
    # [dream.diffusion_generate, dream.generate_blocks, sdar.generate, fast_dllm_v2.generate, ar.generate]
    top_p: Optional[float]
    # seed of all random draws (default 0) [every algorithm]
    seed: Optional[int]
    # token ids that end the answer, "none" for no such id (default: the model's) [every algorithm]
    stop_ids: Optional[Union[Sequence[int], int, str]]
    # Fast-dLLM v2's name for stop_ids [every algorithm]
    stop_id: Optional[Union[Sequence[int], int, str]]
    # Fast-dLLM v2's other name for stop_ids [every algorithm]
    stop_token: Optional[Union[Sequence[int], int, str]]
    # reveal every token surer than this (default: dream 0.9, sdar 0.85, fast_dllm_v2 0.9, llada: equal shares a
    # step) [llada.generate_fast, dream.diffusion_generate, dream.generate_blocks, sdar.generate,
    # fast_dllm_v2.generate]
    threshold: Optional[float]
    # SDAR's name for threshold [llada.generate_fast, dream.diffusion_generate, dream.generate_blocks,
    # sdar.generate, fast_dllm_v2.generate]
    confidence_threshold: Optional[float]
    # reveal the n-th surest token while its confidence is at least 1 - factor / (n + 1); replaces threshold
    # [llada.generate_fast]
    factor: Optional[float]
    # strategy entropy_bounded: bound on the summed entropy of one step (default 0.35) [sdar.generate]
    eb_threshold: Optional[float]
    # classifier-free guidance; above 0 a step costs two passes (default 0) [llada.generate]
    cfg_scale: Optional[float]
    # what ranks positions (default low_confidence) [llada.generate, llada.generate_fast]
    remasking: Optional[str]
    # never predict the end-of-text id (default false) [llada.generate, llada.generate_fast]
    logits_eos_inf: Optional[bool]
    # reveal end ids last (default false) [llada.generate, llada.generate_fast]
    confidence_eos_eot_inf: Optional[bool]
    # stop once a stop id is revealed and everything before it is known (default: not published) [llada.generate,
    # llada.generate_fast, dream.diffusion_generate, dream.generate_blocks]
    early_stop: Optional[bool]
    # approximate KV cache: positions before the block, or all outside it (default none) [llada.generate_fast]
    cache: Optional[str]
    # refresh the approximate cache every that many passes inside a block, too; 0: only at its start (default 0)
    # [llada.generate_fast, dream.generate_blocks]
    refresh_interval: Optional[int]
    # what ranks positions (default entropy; generate_blocks confidence_threshold) [dream.diffusion_generate,
    # dream.generate_blocks]
    alg: Optional[str]
    # above 0: draw the positions, more evenly the higher it is (default 0) [dream.diffusion_generate,
    # dream.generate_blocks]
    alg_temp: Optional[float]
    # end of the time schedule (default 0.001) [dream.diffusion_generate, dream.generate_blocks]
    eps: Optional[float]
    # also cache the positions behind the block (default false) [dream.generate_blocks]
    dual: Optional[bool]
    # Fast-dLLM's name for dual [dream.generate_blocks]
    dual_cache: Optional[bool]
    # which positions a step reveals (default low_confidence_dynamic) [sdar.generate]
    strategy: Optional[str]
    # SDAR's name for strategy [sdar.generate]
    remasking_strategy: Optional[str]
    # reuse keys and values inside a block (default false) [fast_dllm_v2.generate]
    block_cache: Optional[bool]
    # Fast-dLLM v2's name for block_cache [fast_dllm_v2.generate]
    use_block_cache: Optional[bool]
    # run a prompt of exactly one block into the cache; the published code loses it (default: not published)
    # [fast_dllm_v2.generate]
    prefill_exact: Optional[bool]
    # store finished blocks in the next block's first pass: same tokens, fewer passes (default: not published)
    # [sdar.generate]
    fuse_commit: Optional[bool]
    # leading prompt tokens, whole blocks, whose exact keys and values are stored already (default 0) [every
    # algorithm]
    n_cached: Optional[int]
    # divide positive logits of earlier tokens, multiply the others (default 1) [ar.generate]
    repetition_penalty: Optional[float]
    # what the answer must be; one of the four [every algorithm]
    constraint: "Optional[Constraint]"
    # a regular expression that the answer matches as a whole
    regex: Optional[str]
    # a JSON schema that the answer is an instance of: a mapping, or its text
    json_schema: "Optional[Schema]"
    # a grammar in GBNF, whose rule "root" derives the answer
    grammar: Optional[str]


class GenerateOptions(DecodeOptions, total=False):
    """What Model's generate(), stream() and generate_file() take as well: for the chat template, see render_chat."""

    tools: Any
    documents: Any
    enable_thinking: Optional[bool]
    chat_template: Optional[str]
    chat_template_kwargs: Optional[Mapping[str, Any]]
