#!/usr/bin/env python3
"""Writes the hand-made seeds of the fuzzers whose inputs are packed: corpus/{folder,export,decode,session,stream,jsonl,jinja,constraint,grammar}, and of the
tokenizers and configurations those that no published file has.

usage: make_corpus.py [FOLDER]

Other files of these folders are what fuzzing added; they are left alone. Each fuzz_<name>.c says how its bytes are
taken apart.
"""
import json
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
CHECKPOINTS = HERE.parent / "data" / "checkpoints"
QWEN = json.loads((HERE / "corpus" / "tokenizer" / "json_qwen").read_bytes()[1:])
LLADA = json.loads((HERE / "corpus" / "tokenizer" / "json_llada").read_bytes()[1:])


def put(fuzzer, name, data):
    path = OUT / fuzzer / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def text(value):
    return value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def parts(*values):
    return b"\0".join(b"" if v is None else text(v) for v in values)


# ---- tokenizer folders -----------------------------------------------------------------------------------------------

def vocabulary(tokenizer):
    return tokenizer["model"]["vocab"], "\n".join(" ".join(m) if isinstance(m, list) else m
                                                  for m in tokenizer["model"]["merges"]).encode()


def folders():
    def template(name):
        return (HERE / "corpus" / "tokenizer" / f"template_{name}").read_bytes()[1:].decode()

    vocab, merges = vocabulary(QWEN)
    last = max(vocab.values()) + 1
    added = {"<|endoftext|>": last, "<|im_start|>": last + 1, "<|im_end|>": last + 2, "<|mask|>": last + 3}
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    decoder = {str(i): {"content": t, **flags} for t, i in added.items()}
    sample = "user: caf\u00e9 <|im_start|> e\u0301 12 \n\n".encode()
    put("folder", "json_and_jinja", parts(QWEN, {"mask_token": "<|mask|>"}, None, None, None, None,
                                          template("sdar").encode(), sample))
    put("folder", "json_and_config", parts(LLADA, {"chat_template": template("llada"), "bos_token": "<|startoftext|>",
                                                   "eos_token": {"content": "<|endoftext|>"}},
                                           {"bos_token": {"content": "<|startoftext|>"}}, None, None, None, None, sample))
    put("folder", "vocab_and_merges", parts(None, {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False,
                                                   "chat_template": template("dream"), "added_tokens_decoder": decoder},
                                            {"mask_token": "<|mask|>", "additional_special_tokens": ["<|im_end|>"]},
                                            vocab, merges, None, None, sample))
    put("folder", "added_tokens", parts(None, {"tokenizer_class": "DreamTokenizer"}, {"mask_token": "<|mask|>"}, vocab,
                                        b"#version: 0.2\n" + merges, added, template("fast_dllm_v2").encode(), sample))
    put("folder", "nothing", b"\0")


# ---- steps of tokenizers, scaling of configurations ------------------------------------------------------------------

def steps():
    split = {"type": "Split", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}
    flags = {"lstrip": True, "rstrip": True, "single_word": True, "normalized": True, "special": False}
    last = max(QWEN["model"]["vocab"].values()) + 9
    more = json.loads(json.dumps(QWEN))
    more["model"]["ignore_merges"] = True
    more["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": False},
        {"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        {"type": "Replace", "pattern": {"Regex": "[^\\S\\n]+|a{2,3}(?=b)"}, "content": ""}]}
    more["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {**split, "pattern": {"Regex": "(?i:'s|'ll)|\\p{Lu}?\\p{Ll}+|\\P{L}"}, "behavior": "MergedWithNext"},
        {**split, "pattern": {"String": "the"}, "behavior": "MergedWithPrevious", "invert": True},
        {"type": "Digits", "individual_digits": True}, bytes_]}
    more["added_tokens"] = [{"id": last + i, "content": c, **flags} for i, c in enumerate(("word", "UP", "caf\u00e9"))]
    more["post_processor"] = {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "b"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"b": {"ids": [last]}}}
    put("tokenizer", "json_steps", b"\0" + text(more))
    put("tokenizer", "packed_steps", b"\1" + (HERE.parent / "data" / "text" / "sdar.packed").read_bytes())
    dream = json.loads((CHECKPOINTS / "dream-tiny" / "config.json").read_text())
    for name, rope in {"yarn": {"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5},
                       "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
                       "linear": {"full_attention": {"type": "linear", "factor": 2.0, "rope_theta": 5.0}}}.items():
        put("config", f"rope_{name}", parts({**dream, "rope_parameters": rope}, None, {"<|mask|>": 1323},
                                            {"mask_token": "<|mask|>"}))


# ---- checkpoints -----------------------------------------------------------------------------------------------------

V, H, HEADS, KV, DIM, MLP = 288, 8, 4, 2, 4, 12
SIZES = {"hidden_size": H, "d_model": H, "num_attention_heads": HEADS, "n_heads": HEADS, "num_key_value_heads": KV,
         "n_kv_heads": KV, "head_dim": DIM, "intermediate_size": MLP, "mlp_hidden_size": MLP, "num_hidden_layers": 1,
         "n_layers": 1, "vocab_size": V, "embedding_size": V, "max_position_embeddings": 96, "max_sequence_length": 96,
         "mask_token_id": 270, "eos_token_id": 257, "pad_token_id": 257, "bos_token_id": 256,
         "layer_types": ["full_attention"], "bd_size": 8}


def shape_of(name, dim):
    """Shape of the tensor in a decoder of the sizes above."""
    rows = {"q": HEADS * dim, "k": KV * dim, "v": KV * dim, "gate": MLP, "up": MLP, "down": H, "o": H, "ff": MLP}
    if "wte" in name or "embed" in name or name in ("lm_head.weight", "model.transformer.ff_out.weight"):
        return [V, H]
    if "q_norm" in name or "k_norm" in name:
        return [dim]
    last = name.split(".")[-2]
    if "norm" in last or last == "ln_f":
        return [H]
    if last in ("attn_out", "o_proj"):
        return [H, HEADS * dim]
    if last in ("ff_out", "down_proj"):
        return [H, MLP]
    n = rows[last.split("_")[0]]
    return [n] if name.endswith("bias") else [n, H]


def header(names, dtype, dim):
    out, at = {}, 0
    for name in names:
        shape = shape_of(name, dim)
        size = (4 if dtype == "F32" else 2)
        for d in shape:
            size *= d
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return out


def tensor_names(checkpoint):
    names = []
    for file in sorted(checkpoint.glob("*.safetensors")):
        raw = file.read_bytes()
        table = json.loads(raw[8:8 + struct.unpack("<Q", raw[:8])[0]])
        names += [n for n in table if n != "__metadata__" and not any(f".{i}." in n for i in range(1, 9))]
    return sorted(names)


def exports():
    for number, (family, dtype) in enumerate((("llada", "F32"), ("dream", "BF16"), ("sdar", "F16"),
                                              ("fast_dllm_v2", "BF16"))):
        folder = CHECKPOINTS / f"{family}-tiny"
        config = json.loads((folder / "config.json").read_text())
        small = {k: SIZES.get(k, v) for k, v in config.items() if k not in ("auto_map", "architectures")}
        dim = DIM if "head_dim" in small else H // HEADS
        names = tensor_names(folder)
        generation = {"eos_token_id": [258, 257]}
        tokens = {"<|mask|>": 270} if family in ("dream", "sdar") else None
        choice = bytes([number % 2, 63, 16, 0])
        if family == "fast_dllm_v2":
            half = len(names) // 2
            index = {"weight_map": {n: f"model-{1 + (i >= half)}.safetensors" for i, n in enumerate(names)}}
            put("export", family, choice + parts(small, generation, {"|<MASK>|": 270}, None, None, index, None,
                                                 header(names[:half], dtype, dim), header(names[half:], dtype, dim)))
            continue
        put("export", family, choice + parts(small, generation, tokens, None, None, None, header(names, dtype, dim)))
        for scheme in range(1, 8) if family == "sdar" else ():
            put("export", f"{family}_scheme{scheme}", bytes([32 * scheme]) + choice[1:] +
                parts(small, generation, tokens, None, None, None, header(names, dtype, dim)))
        put("export", family + "_nan", bytes([16 + number % 2]) + choice[1:] +
            parts(small, generation, tokens, None, None, None, header(names, dtype, dim)))
        put("export", family + "_typed", bytes([8 + 2 * number, 31, 0, 4]) +
            parts(small, None, tokens, {"mask_token": "<|mask|>"} if tokens else None, LLADA if number == 0 else QWEN,
                  None, header(names, dtype, dim)))


# ---- decodes ---------------------------------------------------------------------------------------------------------

def number(n):
    """As take_int reads it."""
    if 0 <= n < 0xE0:
        return bytes([n])
    if -16 <= n < 0:
        return bytes([0xE0 - 1 - n])
    return b"\xff" + struct.pack(">i", n)


def decode(name, options, attn_block=0, shift=0, mood=0, mask=5, prompt=(12, 13, 14, 15, 16), vocab=48, cancel=0,
           context=80, block=8, small=4):
    facts = [vocab, context, context, mask, attn_block, shift, block, small, -1, 7, -1, 2, 7, 11, 0, 0]
    data = b"\1" + b"".join(map(number, facts))
    data += bytes([3, mood]) + (b"\4" if mood == 5 else b"") + number(20) + bytes([cancel, len(prompt)])
    put("decode", name, data + b"".join(map(number, prompt)) + "\n".join(options).encode())


def decodes():
    decode("llada", ["max_new_tokens=24", "steps=24", "block_length=8"])
    decode("llada_guided", ["algorithm=llada.generate", "gen_length=16", "block_length=8", "steps=8", "cfg-scale=1.5",
                            "temperature=0.7", "remasking=random", "logits_eos_inf=yes"])
    decode("llada_fast", ["algorithm=llada.generate_fast", "gen_length=16", "block_length=8", "steps=16", "cache=dual",
                          "threshold=0.9", "refresh_interval=2"])
    decode("llada_factor", ["algorithm=llada.generate_fast", "factor=1", "cache=prefix", "max_passes=3",
                            "published=false"], prompt=(12, 5, 13, 5))
    decode("dream", ["max_new_tokens=20", "alg=entropy", "alg_temp=0.2", "temperature=0.4", "top_p=0.9", "top_k=9"],
           shift=1)
    decode("dream_origin", ["algorithm=dream.diffusion_generate", "alg=origin", "steps=12", "eps=0.01"], shift=1)
    decode("dream_blocks", ["algorithm=dream.generate_blocks", "max_new_tokens=16", "block_length=8", "dual=1",
                            "alg=confidence_threshold", "threshold=0.8", "preset=balanced"], shift=1)
    decode("sdar", ["gen_length=16", "block_length=4", "denoising_steps=2", "strategy=entropy_bounded",
                    "eb_threshold=0.2"], attn_block=4, block=4)
    decode("sdar_cached", ["n_cached=4", "fuse_commit=true", "stop_ids=7,9", "strategy=sequential"], attn_block=4,
           block=4, prompt=tuple(range(12, 23)))
    decode("fast_dllm_v2", ["max_new_tokens=24", "block_cache=true", "small_block_size=2", "max_passes=4"],
           attn_block=8, shift=1)
    decode("fast_dllm_v2_published", ["algorithm=fast_dllm_v2.generate", "max_new_tokens=24", "prefill_exact=0",
                                      "stop_id=11"], attn_block=8, shift=1, prompt=tuple(range(12, 20)))
    decode("ar", ["repetition_penalty=1.3", "temperature=1", "seed=9"], attn_block=1, shift=1, mask=-1)
    decode("presets", ["preset=fast", "max-new-tokens=8", "early_stop=off"], cancel=3)
    for mood, word in enumerate(("equal", "huge", "nan", "nothing", "failing"), 1):
        decode(f"mood_{word}", ["max_new_tokens=12"], mood=mood)
    decode("hostile_facts", ["max_new_tokens=16777216"], vocab=1 << 30, context=1 << 24, block=1 << 30, small=-7)


# ---- sessions --------------------------------------------------------------------------------------------------------

def opened(slot, kind, rows=0, context=0):
    return bytes([slot * 16, kind, rows, context])


FLOATS, HALVES, INT8 = 0, 1, 5  # types of a cache


def joined(slot, fused=True, kv=FLOATS, rows=0, context=0, positions=None, first=True):
    """A session in the shared workspace, which the first one opens."""
    data = bytes([slot * 16, 2 + (not fused)])
    return data + (bytes([kv + 2 * (positions is not None), rows, context, 5]) +
                   (bytes([positions]) if positions is not None else b"") if first else b"")


def call(slot, start, n, context=1, block=4, store=True, last=False, seed=7):
    """n ids from `start` on. context 0: none, 1: everything before, 2: and 4 rows behind. Logits of all rows, or of the
    last one."""
    data = bytes([slot * 16, start, n, seed, context]) + (b"\x04" if context == 2 else b"")
    return data + bytes([block, 1, 1 if store else 0]) + (bytes([4, 1, n - 1]) if last else b"\0")


def sessions():
    put("session", "blocks", opened(0, 0) + b"".join(call(0, p, 4) for p in (0, 4, 8)) + bytes([13, 12, 4, 1]) +
        bytes([14, 6]) + call(0, 4, 4))
    put("session", "whole", opened(0, 0) + call(0, 0, 16, 0, 0) + call(0, 16, 4, 1, 0) + call(0, 4, 12, 2, 0, seed=9))
    put("session", "small", opened(1, 0, 4, 16) + call(1, 0, 12, 0) + call(1, 12, 4, 1, 4, False))
    put("session", "node_by_node", opened(2, 1) + call(2, 0, 8, 0) + call(2, 8, 4, 1, 4, True, True) +
        call(2, 12, 2, 1, 1))
    put("session", "causal", opened(0, 0) + call(0, 0, 5, 0, 1) + b"".join(call(0, p, 1, 1, 1) for p in (5, 6, 7)))
    put("session", "two", opened(0, 0) + opened(1, 0, 8) + call(0, 0, 4, 0) + call(1, 0, 4, 0, seed=11) +
        call(0, 4, 4) + call(1, 4, 4))
    put("session", "long", opened(0, 0) + b"".join(call(0, p, 32, 1 if p else 0, 8) for p in (0, 32, 64, 96)) +
        call(0, 128, 16, 1, 8, False) + bytes([14, 70]) + call(0, 64, 40, 1, 8))
    several = b"".join(call(i, 0, 40, 0, 8) for i in (0, 1))
    put("session", "batch", joined(0) + joined(1, first=False) + several + bytes([10, 3]) + call(0, 40, 8, 1, 8)[1:] +
        call(1, 40, 4, 1, 4, False)[1:] + bytes([10, 0x83]) + call(0, 40, 8)[1:] * 3)
    put("session", "fork", joined(0) + b"".join(call(0, p, 40, 1 if p else 0, 8) for p in (0, 40)) +
        bytes([11, 1, 72]) + call(1, 72, 8, 1, 8, seed=9) + call(0, 80, 8, 1, 8) + bytes([16 + 11, 2, 160]) +
        bytes([12]) + call(2, 0, 8, 0, 8, seed=5) + bytes([26, 6]) + call(1, 80, 4, 1, 4)[1:] + call(2, 8, 8)[1:])
    for name, kv in (("halves", HALVES), ("int8", INT8)):
        put("session", name, joined(0, kv=kv) + call(0, 0, 16, 0, 0) + call(0, 4, 4, 2, 0, False) + call(0, 16, 40, 1, 8))
    put("session", "int8_batch", joined(0, kv=INT8) + joined(1, first=False) + several + bytes([10, 3]) +
        call(0, 40, 8, 1, 8)[1:] + call(1, 40, 4, 1, 4, False)[1:] + bytes([11, 2, 44]) + call(2, 44, 8, 1, 4, seed=9) +
        call(0, 48, 8, 1, 8) + bytes([14, 20]) + call(0, 20, 60, 1, 4, seed=3))
    put("session", "pages_run_out", joined(0, positions=100) + joined(1, first=False) + several +
        call(0, 40, 40, 1, 8) + call(1, 40, 40, 1, 8) + bytes([12]) + call(1, 40, 40, 1, 8))
    put("session", "side_by_side", joined(0, fused=False) + call(0, 0, 8, 0, 0) + bytes([11, 1, 8]) +
        bytes([10, 3]) + call(0, 8, 4, 1, 0)[1:] + call(1, 8, 4, 1, 0, seed=9)[1:])


# ---- streams and questions -------------------------------------------------------------------------------------------

def streams():
    for family in range(5):
        put("stream", f"family_{family}", bytes([family, family, 40, 7 * family, 0, 0, 24, *range(40, 64)]) + b"EF\nOPQ")
    accents = bytes((0xE4, 0xB8, 0xAD, 0xC3, 0xA9, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF))
    put("stream", "broken_characters", bytes([3, 0, 20, 3, 0, 0, 9]) + accents + b"a\nb")
    put("stream", "broken_stop", bytes([1, 0, 12, 5, 0, 0, 4, 70, 71, 72, 73]) + b"ab\n\xe4\xb8")
    put("stream", "cancelled", bytes([0x80, 2, 30, 1, 3, 9, 20, *range(64, 84)]))
    put("stream", "special", bytes([1, 0, 12, 5, 0, 0, 8, 0xF8, 0xF9, 0xFA, 0xFB, 70, 0xF8, 71, 72]) + b"<think>")


def questions():
    board = "Solve\n" + "1.3456\n......\n......\n......\n......\n......\n"
    right = "123456\n456123\n231564\n564231\n312645\n645312\n"
    put("jsonl", "prompts", b"\0" + b"\n".join((text({"prompt": board, "answer": right}), b" \t",
                                               text({"prompt": "a\u00e9", "answer": "", "more": [1, {}]}))))
    put("jsonl", "messages", b"\3" + text({"messages": [{"role": "user", "content": "?"}], "answer": "!"}) + b"\r\n")
    put("jsonl", "wrong", b"\0" + b'{"prompt":"a","answer":"b"}\n{"prompt":1,"answer":"b"}\n')
    put("jsonl", "empty", b"\0\n \n")
    put("jsonl", "nul_at_the_end", b"\0" + text({"prompt": "a", "answer": "b"}) + b"\n\0\0 \n")


# ---- chat templates --------------------------------------------------------------------------------------------------

def templates():
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "caf\u00e9 </think> x"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "123456789", "function": {"name": "f", "arguments": {"a": [1, 2.5, None]}}}]},
                {"role": "tool", "content": "ok"}]
    for path in sorted((HERE.parent / "data" / "jinja" / "templates").glob("*.jinja")):
        put("jinja", path.stem, b"\0" + parts(path.read_bytes(), messages))
    recorded = json.loads((HERE.parent / "data" / "jinja" / "recorded.json").read_bytes())
    for number, (source, _, _) in enumerate(recorded["programs"][:60]):
        put("jinja", f"program_{number}", b"\0" + parts(source.encode(), messages))


# ---- constraints -----------------------------------------------------------------------------------------------------

def constraints():
    words = ["a", "b", "c", "ab", "ba", "1", "2", "-", "{", "}", "\"", "\"a\":", ":", ",", "true", "ru", "t", "e", "null", ""]

    def seed(name, kind, source, length=9, depth=0):
        put("constraint", name, bytes([kind, length, depth]) + b"\0".join(w.encode() for w in (source, *words)) + b"\0")

    seed("alternatives", 0, "(ab|ba)*c?|[^a]{2,3}")
    seed("date", 0, "[12]{1,4}-(1|2)")
    seed("anchors", 0, "^(a$|b)(?:a|$)")
    seed("ecma", 1, "[\\s\\S].\\u{1F600}?|\\w+")
    seed("in_a_string", 2, "[^a]*\\x00?")
    seed("refused", 0, "a(?=b)")
    seed("grows", 0, "(a|b)*a(a|b){6}")
    seed("object", 3, '{"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":21}},"required":["a"]}', 5)
    seed("array", 3, '{"type":"array","items":{"enum":[1,true,null]},"minItems":1,"maxItems":2}', 7)
    seed("strings", 3, '{"anyOf":[{"type":"string","pattern":"a|b$","maxLength":3},{"type":"null"}]}', 4)
    seed("numbers", 3, '{"type":"number","exclusiveMinimum":-12,"maximum":11}', 4)
    seed("recursion", 3, '{"properties":{"a":{"$ref":"#"}},"type":"object"}', 9, 2)
    seed("any", 3, "{}", 6)


def grammars():
    def seed(name, source, *texts, depth=0):
        put("grammar", name, bytes([depth]) + b"\0".join(t.encode() for t in (source, *texts)) + b"\0")

    seed("left", 'root ::= root "+" x | x\nx ::= [0-9]+', "1+2+3", "1+", "")
    seed("right", 'root ::= "a" root | "b" # on the right\n', "aab", "ba")
    seed("both", 'root ::= root "a" | "b" root | "c"', "bbcaa", "cb")
    seed("brackets", 'root ::= "(" root ")" root |', "(())()", "(()", "((((()))))", depth=2)
    seed("chain", 'root ::= root ("+" | "*") root | "(" root ")" | "1"', "1+(1*1)", "(1")
    seed("hidden", 'root ::= e root "a" | "b"\ne ::= "x"? |', "baa", "xba", "xxbaa")
    seed("unit", 'root ::= x | "a"\nx ::= root | y\ny ::= x | "b"', "a", "b", "ab")
    seed("nothing", 'root ::= "a" root', "a")
    seed("ends", 'root ::= [^\\]a-c]{2,3} | "\\x41\\u00e9\\U0001F600" | .', "xyz", "A", "]")
    seed("two", 'root ::= s\ns ::= "i" v s? | "{" s "}"\nv ::= v "+" v | "(" v ")" | "n"', "in{in}", "i(n+n)in", "i(n", depth=1)
    seed("refused", "root ::= <x> | y", "a")


for make in (folders, steps, exports, decodes, sessions, streams, questions, templates, constraints, grammars):
    make()
