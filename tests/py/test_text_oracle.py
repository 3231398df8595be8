"""Compares the tokenizers and chat templates of the library with `tokenizers` and Jinja2 on random text.

Every text comes from a generator with a fixed start, so a failure can be repeated. DLX_TEXT_ROUNDS multiplies the number
of random texts (default 1).
"""
import itertools
import json
import os
import pathlib
import random
import shutil
import sys

import pytest

from oracles import oracle

tokenizers = oracle("tokenizers", "encoding is")
jinja2 = oracle("jinja2", "chat templates are")
sandbox = oracle("jinja2.sandbox", "chat templates are")

import diffulex_edge  # noqa: E402
from diffulex_edge.text import Tokenizer, render_chat  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "tests" / "data" / "checkpoints"
SHARED = pathlib.Path(os.environ.get("DLX_SHARED", ROOT.parent / "shared"))
FAMILIES = ("llada", "dream", "sdar", "fast_dllm_v2")
ROUNDS = int(os.environ.get("DLX_TEXT_ROUNDS", "1"))

QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
              r"\s+(?!\S)|\s+")


def folder_of(family):
    return CHECKPOINTS / f"{family}-tiny"


class Pair:
    """Our tokenizer and the reference's, which also exists as one that leaves control tokens in text alone: the special
    ones, and the mask, which not every file calls special."""

    def __init__(self, folder, reference_json):
        self.ours = Tokenizer.from_folder(folder)
        self.reference = tokenizers.Tokenizer.from_str(reference_json)
        bare = json.loads(reference_json)
        self.added = [t["content"] for t in bare["added_tokens"]]
        for token in bare["added_tokens"]:
            token["special"] = token["special"] or token["id"] == self.ours.mask_id
        self.bare = tokenizers.Tokenizer.from_str(json.dumps(bare))
        self.bare.encode_special_tokens = True
        self.size = len(self.ours)

    def check_encoding(self, text):
        expected = self.reference.encode(text, add_special_tokens=False).ids
        assert self.ours.encode(text, special=True) == expected, ascii(text)
        plain = self.bare.encode(text, add_special_tokens=False).ids
        assert self.ours.encode(text) == plain, ascii(text)
        return expected

    def check_decoding(self, ids):
        for skip in (False, True):
            expected = self.reference.decode(ids, skip_special_tokens=skip)
            assert self.ours.decode(ids, skip_special=skip) == expected, (ids, skip)
            with self.ours.stream(skip_special=skip) as stream:
                cut = len(ids) // 2
                assert stream.push(ids[:cut]) + stream.push(ids[cut:]) + stream.flush() == expected, (ids, skip)


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    folder = folder_of(request.param)
    return Pair(folder, (folder / "tokenizer.json").read_text(encoding="utf-8"))


# ---- random text -----------------------------------------------------------------------------------------------------

SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u180e\u2000\u2003\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0x1100, 0x1200),
          (0x1AB0, 0x1B80), (0x1E00, 0x2000), (0x2000, 0x2100), (0x2100, 0x2C00), (0x3040, 0x3100), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A4), (0xF900, 0xFB50), (0xFE00, 0xFFFE), (0x10000, 0x12000), (0x16D40, 0x16D80),
          (0x1D100, 0x1D200), (0x1E000, 0x1E950), (0x1F000, 0x1FB00), (0x20000, 0x20100), (0x2F800, 0x2FA20),
          (0xE0000, 0xE0200), (0, 0x110000)]
WORDS = ["the", " and", "Hello", "it's", "I'LL", "we've", "don't", "'\u017f", "'RE", "caf\u00e9", "cafe\u0301", "A\u030a",
         "\u1112\u1161\u11ab", "12345", "3.14", "\u00bd", "def f(x):\n", "    return", "\r\n\r\n", "  \n  ", "...", "?!",
         "\U0001f469\U0001f3fd\u200d\U0001f4bb", "\u4f60\u597d", "\u0645\u0631\u062d\u0628\u0627", "<|", "|>", "<", ">",
         "\u0915\u093c", "\u0958", "\u0344", "\u0f73", "\u1e9b\u0323", "s\u0323\u0307", "\u0061\u0315\u0300\u05ae\u0062"]


def random_character(rng):
    while True:
        first, end = rng.choice(RANGES)
        c = rng.randrange(first, end)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def random_text(rng, added=(), longest=12):
    parts = []
    for _ in range(rng.randrange(longest + 1)):
        kind = rng.random()
        if kind < 0.4:
            parts.append(rng.choice(WORDS))
        elif kind < 0.55:
            parts.append("".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 5))))
        elif kind < 0.6 and added:
            token = rng.choice(added)
            parts.append(token if rng.random() < 0.7 else token[rng.randrange(len(token)):])
        elif kind < 0.65:
            parts.append(rng.choice("ab1' ") * rng.randrange(1, 9))
        else:
            parts.append("".join(random_character(rng) for _ in range(rng.randrange(1, 5))))
    return "".join(parts)


# Blocks whose characters have one category and no decompositions, and all that is not assigned behind the last of them.
ALIKE = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0x17000, 0x18800), (0x20000, 0x2F800), (0x2FA20, 0xE0000), (0xE1000, 0x110000))


# ---- tokenizers ------------------------------------------------------------------------------------------------------

def test_random_text(pair):
    rng = random.Random(20240601)
    for _ in range(4000 * ROUNDS):
        text = random_text(rng, pair.added)
        pair.check_decoding(pair.check_encoding(text))


def test_random_ids(pair):
    rng = random.Random(7)
    for _ in range(2000 * ROUNDS):
        limit = 256 if rng.random() < 0.5 else pair.size
        pair.check_decoding([rng.randrange(limit) for _ in range(rng.randrange(12))])


@pytest.mark.parametrize("family", ("llada", "dream"))
def test_every_character(family, tmp_path):
    """Each code point among letters, digits, blanks and marks: its class in the split, and its normal form. The vocabulary
    shows where text was split: every byte merges with what stands before and behind it, unless it is in another piece."""
    source = json.loads((folder_of(family) / "tokenizer.json").read_text(encoding="utf-8"))
    alphabet = [token for token, number in source["model"]["vocab"].items() if number < 256]
    merges = [(before, byte) for before in ("a", "1", "\u0120", "\u010a", ".") for byte in alphabet]
    merges += [(byte, behind) for behind in ("b", "1", "\u0120", "\u010a", ".") for byte in alphabet]
    merges = list(dict.fromkeys(merges))
    tokens = alphabet + list(dict.fromkeys("".join(merge) for merge in merges))
    source["model"]["vocab"] = {token: number for number, token in enumerate(tokens)}
    source["model"]["merges"] = [list(merge) for merge in merges]
    source["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(source), encoding="utf-8")
    pair = Pair(tmp_path, json.dumps(source))
    scalars = itertools.chain(range(0xD800), range(0xE000, 0x110000))
    while True:
        block = [chr(c) for c in itertools.islice(scalars, 512)]
        if not block:
            break
        # Ideographs, private use and the unassigned planes behave alike; every sixteenth block of them is enough.
        number = ord(block[0]) // 512
        if any(first <= ord(block[0]) and ord(block[-1]) < end for first, end in ALIKE) and number % 16:
            continue
        text = "".join(f"a{c}b {c}1{c}\u0323\u0301 .{c}\n" for c in block)
        if pair.ours.encode(text) != pair.bare.encode(text, add_special_tokens=False).ids:
            for c in block:
                for context in ("a{}b", " {}1", "{}\u0323\u0301", " .{}\n"):
                    pair.check_encoding(context.format(c))
            raise AssertionError(f"characters from {ascii(block[0])} differ only together")


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_vocab_and_merges(family, tmp_path):
    """The files without tokenizer.json, as Dream and SDAR are published."""
    for file in folder_of(family).iterdir():
        if file.name != "tokenizer.json" and file.suffix in (".json", ".txt", ".jinja"):
            shutil.copy(file, tmp_path)
    pair = Pair(tmp_path, (folder_of(family) / "tokenizer.json").read_text(encoding="utf-8"))
    rng = random.Random(11)
    for _ in range(500 * ROUNDS):
        pair.check_decoding(pair.check_encoding(random_text(rng, pair.added)))


def test_published_qwen_vocabulary():
    folder = SHARED / "fixtures" / "qwen3-tokenizer"
    if not folder.is_dir():
        pytest.skip(f"the published vocabulary of Qwen is NOT checked: there is no folder {folder}; set DLX_SHARED")
    bpe = tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    reference = tokenizers.Tokenizer(bpe)
    reference.normalizer = tokenizers.normalizers.NFC()
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(QWEN_SPLIT), "isolated"),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    reference.decoder = tokenizers.decoders.ByteLevel()
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    reference.add_tokens([tokenizers.AddedToken(t["content"], normalized=t["normalized"], special=t["special"])
                          for _, t in sorted(config["added_tokens_decoder"].items(), key=lambda item: int(item[0]))])
    pair = Pair(folder, reference.to_str())
    rng = random.Random(13)
    for _ in range(1500 * ROUNDS):
        pair.check_encoding(random_text(rng, pair.added, 40))
    for path in sorted((ROOT / "src").rglob("*.c"))[:40] + sorted((ROOT / "docs").glob("*.md")):
        pair.check_encoding(path.read_text(encoding="utf-8"))


# ---- chat templates --------------------------------------------------------------------------------------------------

def reference_template(family):
    """The template as `transformers` compiles it."""
    folder = folder_of(family)
    file = folder / "chat_template.jinja"
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    source = file.read_text(encoding="utf-8") if file.is_file() else config["chat_template"]
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                        extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)
    environment.globals["raise_exception"] = None
    compiled = environment.from_string(source)

    def render(messages, tools, add_generation_prompt, **more):
        return compiled.render(messages=messages, tools=tools, add_generation_prompt=add_generation_prompt,
                               bos_token=config.get("bos_token"), eos_token=config.get("eos_token"), **more)
    return render


def chat_text(rng, added):
    text = random_text(rng, added, 6).replace("\0", "")
    if rng.random() < 0.3:
        text = rng.choice(["\n", "\n\n", " ", "\u3000"]) + text + rng.choice(["\n", " \n", ""])
    if rng.random() < 0.2:
        text = rng.choice(["<think>", "<think>\n", ""]) + text + rng.choice(["</think>", "\n</think>\n\n"]) + "rest"
    if rng.random() < 0.1:
        text = f"<tool_response>{text}</tool_response>"
    return text


def random_number(rng):
    """The spelling of a number in JSON."""
    sign = rng.choice(["", "-"])
    kind = rng.random()
    if kind < 0.4:
        return sign + str(rng.randrange(10 ** rng.randrange(1, 30)))
    if kind < 0.7:
        return sign + f"{rng.random() * 10 ** rng.randrange(-8, 20):.{rng.randrange(1, 25)}f}"
    return sign + f"{rng.randrange(1, 1000)}.{rng.randrange(10 ** 12)}{rng.choice('eE')}{rng.randrange(-340, 320)}"


def random_json(rng, depth=0):
    kind = rng.random()
    if kind < 0.25:
        return random_number(rng)
    if kind < 0.55 or depth > 3:
        return json.dumps(random_text(rng, (), 4), ensure_ascii=rng.random() < 0.5)
    if kind < 0.65:
        return rng.choice(["true", "false", "null"])
    items = [random_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 0.8:
        return "[" + " , ".join(items) + "]"
    keys = [json.dumps(rng.choice(["a", "b", "\u00e9", "x y", random_text(rng, (), 2)])) for _ in items]
    return "{ " + ",".join(f"{key}:{item}" for key, item in zip(keys, items)) + " }"


def random_calls(rng):
    """JSON text of tool calls, with and without the `function` around them."""
    calls = []
    for _ in range(rng.randrange(1, 4)):
        arguments = json.dumps(random_text(rng, (), 2)) if rng.random() < 0.2 else random_json(rng)
        call = f'{{"name": {json.dumps(random_text(rng, (), 3))}, "arguments": {arguments}}}'
        calls.append(f'{{"type": "function", "function": {call}}}' if rng.random() < 0.5 else call)
    return "[" + ", ".join(calls) + "]"


def random_conversation(rng, added):
    """(messages for Jinja, their JSON text for the library, tools as values, tools as text)."""
    theirs, ours = [], []
    if rng.random() < 0.4:
        theirs.append({"role": "system", "content": chat_text(rng, added)})
    for _ in range(rng.randrange(0 if theirs else 1, 6)):
        theirs.append({"role": rng.choice(["user", "assistant", "assistant", "tool", "system"]),
                       "content": chat_text(rng, added)})
    for message in theirs:
        calls = ""
        if message["role"] == "assistant":
            if rng.random() < 0.3:
                message["reasoning_content"] = chat_text(rng, added)
            if rng.random() < 0.3:
                calls = random_calls(rng)
        ours.append(json.dumps(message, ensure_ascii=rng.random() < 0.5))
        if calls:  # numbers as they are spelled
            message["tool_calls"] = json.loads(calls)
            ours[-1] = ours[-1][:-1] + f', "tool_calls": {calls}}}'
    tools = "[" + ", ".join(random_json(rng) for _ in range(rng.randrange(3))) + "]" if rng.random() < 0.3 else None
    return theirs, "[" + ",".join(ours) + "]", json.loads(tools) if tools else None, tools


def holds(text, added):
    return any(token in text for token in added)


@pytest.mark.parametrize("family", FAMILIES)
def test_chat(family):
    sys.set_int_max_str_digits(0)
    folder = folder_of(family)
    pair = Pair(folder, (folder / "tokenizer.json").read_text(encoding="utf-8"))
    render = reference_template(family)
    assert pair.ours.has_chat_template
    rng = random.Random(17)
    exact = 0
    for round_number in range(1500 * ROUNDS):
        added = pair.added if rng.random() < 0.3 else ()
        theirs, ours, tools, tools_text = random_conversation(rng, added)
        prompt, thinking = rng.random() < 0.5, rng.choice([None, False, True])
        more = {} if thinking is None else {"enable_thinking": thinking}
        expected = render(theirs, tools, prompt, **more)
        options = dict(tools=tools_text, add_generation_prompt=prompt, enable_thinking=thinking)
        rendered = render_chat(pair.ours, ours, **options)
        assert rendered == expected, (round_number, ours, options)
        ids = pair.ours.apply_chat_template(ours, **options)
        if not holds(json.dumps([theirs, tools], ensure_ascii=False), pair.added):
            assert ids == pair.reference.encode(expected, add_special_tokens=False).ids, (round_number, ours)
            exact += 1
    assert exact > 500 * ROUNDS


def test_names_are_those_of_the_library():
    assert diffulex_edge.text.Tokenizer is Tokenizer
