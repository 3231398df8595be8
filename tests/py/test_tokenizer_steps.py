"""Tokenizers that nobody published, built with the `tokenizers` library: normalizers, pre-tokenizers and added tokens in
random combinations, and those of known models, each compared with it over random text.

DLX_TEXT_ROUNDS multiplies the number of tokenizers and texts (default 1).
"""
import itertools
import json
import os
import random
import unicodedata

import pytest

from oracles import oracle
from test_text_oracle import QWEN_SPLIT, folder_of, random_character, random_text

tokenizers = oracle("tokenizers", "encoding is")
from tokenizers import Regex, normalizers, pre_tokenizers  # noqa: E402

from diffulex_edge.text import Tokenizer  # noqa: E402

ROUNDS = int(os.environ.get("DLX_TEXT_ROUNDS", "1"))

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
          r"\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
            r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
PATTERNS = (QWEN_SPLIT, LLAMA3, GPT2, CL100K, TEKKEN, O200K, DEEPSEEK, CJK, r"\p{N}{1,3}", r"[\r\n]", r"\s?\p{P}+", "ab|a",
            r"(?i:[a-c])+", r"\S+?(?=\s)", r"[^\S ]", r"\P{L}", r".\d")


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


KNOWN = {
    "llama3": (None, [split(LLAMA3), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], True),
    "gpt2": (None, [pre_tokenizers.ByteLevel(add_prefix_space=False)], False),
    "prefix": (None, [pre_tokenizers.ByteLevel(add_prefix_space=True)], False),
    "tekken": (None, [split(TEKKEN), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], True),
    "o200k": (normalizers.NFC(), [split(O200K), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], True),
    "deepseek": (normalizers.Sequence([]), [split(r"\p{N}{1,3}"), split(CJK), split(DEEPSEEK), pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False)], False),
    "starcoder": (None, [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
                  False),
    "bloom": (None, [split(r" ?[^\s.,!?\u2026\u3002]+"),
                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], False),
}


def alphabet():
    source = json.loads((folder_of("sdar") / "tokenizer.json").read_text(encoding="utf-8"))
    return source["model"]["vocab"], [m if isinstance(m, list) else m.split(" ") for m in source["model"]["merges"]]


VOCABULARY, MERGES = alphabet()


def build(normalizer, steps, ignore_merges=False, added=()):
    """A tokenizer of the reference, with the vocabulary of a tiny checkpoint."""
    vocabulary = dict(VOCABULARY)
    if ignore_merges:  # words that no merge leads to
        for word in ("\u0120hello", "abc", "\u0120\u00e4\u00bd\u0142", "12", "\u010a\u010a\u010a", "Zz"):
            vocabulary.setdefault(word, len(vocabulary))
    t = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [tuple(m) for m in MERGES], ignore_merges=ignore_merges))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    t.decoder = tokenizers.decoders.ByteLevel()
    for token in added:
        (t.add_special_tokens if token.special else t.add_tokens)([token])
    return t


class Both:
    def __init__(self, reference, tmp_path):
        self.reference = reference
        (tmp_path / "tokenizer.json").write_text(reference.to_str(), encoding="utf-8")
        self.ours = Tokenizer.from_folder(tmp_path)
        self.packed = Tokenizer.from_packed(self.ours.pack())

    def check(self, text):
        for special in (True, False):
            self.reference.encode_special_tokens = not special
            expected = self.reference.encode(text, add_special_tokens=False).ids
            assert self.ours.encode(text, special=special) == expected, (special, ascii(text))
            if special:
                assert self.packed.encode(text, special=True) == expected, ascii(text)


MORE = ["hello", " hello", "abc", "aBc", "\u4f60", "\n\n\n", "Zz", "1234", "\u01c5", "\u02b0", "\u0663\u0664", "\u2160",
        "\u0130I\u0131", "\u03a3\u03c3\u03c2", "\u212a", "\u017f", "\u00df", "\ufb01", "\u2075", "\u00aa", "\ufdfa", "\u1100\u1161\u11a8",
        "\uac00\u11a7", "\uac00\u11a8", "\uac01\u11a7\u0301", "\u30ab\u3099", "\u0344\u0345", "Ab'S", "x/\n/y", "_a_", "\u200d", "\u24d0"]


def some_text(rng, added=()):
    parts = [rng.choice(MORE) if rng.random() < 0.4 else random_text(rng, added, 3) for _ in range(rng.randrange(6))]
    return "".join(parts)


@pytest.mark.parametrize("name", KNOWN)
def test_known_tokenizers(name, tmp_path):
    normalizer, steps, ignore = KNOWN[name]
    added = [tokenizers.AddedToken("<|end|>", special=True), tokenizers.AddedToken("<think>", normalized=False)]
    both = Both(build(normalizer, steps, ignore, added), tmp_path)
    rng = random.Random(len(name))
    for _ in range(1500 * ROUNDS):
        both.check(some_text(rng, ["<|end|>", "<think>"]))


@pytest.mark.parametrize("pattern", [r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}", r"[\p{Mn}\p{Me}]", r"\p{Mc}", r"\p{Nd}",
                                     r"[\p{Nl}\p{No}]", r"\p{P}", r"\p{S}", r"\s", r"\S", r"[^\s\p{L}]", r"\p{Z}",
                                     "digits"])
def test_every_character_of_a_category(pattern, tmp_path):
    """Each code point: whether it is taken out of the text or stays. U+1171E went from Mn to Mc after PCRE2's tables."""
    removed = pre_tokenizers.Digits(individual_digits=True) if pattern == "digits" else split(pattern, "removed")
    reference = build(None, [removed, pre_tokenizers.ByteLevel(add_prefix_space=pattern == "digits", use_regex=False)])
    source = json.loads(reference.to_str())
    source["model"]["merges"] = []
    both = Both(tokenizers.Tokenizer.from_str(json.dumps(source)), tmp_path)
    ranges = itertools.chain(range(0xD800), range(0xE000, 0x1171E), range(0x1171F, 0x32400), range(0xE0000, 0xE0200))
    scalars = "".join(chr(c) for c in ranges)
    for i in range(0, len(scalars), 1024):
        both.check(scalars[i:i + 1024])


NORMALIZERS = {
    "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_character_normalised(name, tmp_path):
    reference = build(NORMALIZERS[name], [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    source = json.loads(reference.to_str())
    source["model"]["merges"] = []
    both = Both(tokenizers.Tokenizer.from_str(json.dumps(source)), tmp_path)
    blocks = ((0x80, 0x3400), (0x4DC0, 0x4E00), (0xA000, 0xAC20), (0xD780, 0xD800), (0xF900, 0x12000), (0x16000, 0x17000),
              (0x1BC00, 0x20000), (0x2F800, 0x2FA20), (0xE0000, 0xE0200))
    scalars = [c for first, end in blocks for c in range(first, end)]
    for i in range(0, len(scalars), 256):
        both.check("".join(f"{chr(c)}a{chr(c)}\u0301 " for c in scalars[i:i + 256]))


@pytest.mark.parametrize("name", list(NORMALIZERS)[:4])
def test_compositions(name, tmp_path):
    """Strings of characters that meet in compositions: Hangul, combining marks of all classes, first and second parts."""
    reference = build(NORMALIZERS[name], [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    source = json.loads(reference.to_str())
    source["model"]["merges"] = []
    both = Both(tokenizers.Tokenizer.from_str(json.dumps(source)), tmp_path)
    old = [chr(c) for c in range(0x300, 0x20000) if unicodedata.combining(chr(c)) or unicodedata.decomposition(chr(c))]
    hangul = [chr(c) for c in (0x1100, 0x1112, 0x1113, 0x1160, 0x1161, 0x1175, 0x1176, 0x11A6, 0x11A7, 0x11A8, 0x11C2,
                               0x11C3, 0xAC00, 0xAC01, 0xAC1C, 0xD788, 0xD7A3, 0xD7A4)]
    rng = random.Random(name)
    for _ in range(4000 * ROUNDS):
        pool = hangul + ["a", "\u0301"] if rng.random() < 0.4 else old if rng.random() < 0.5 else None
        both.check("".join(rng.choice(pool) if pool else random_character(rng) for _ in range(rng.randrange(1, 9))))


def random_normalizer(rng):
    one = [normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD, normalizers.Lowercase,
           lambda: normalizers.Strip(left=rng.random() < 0.6, right=rng.random() < 0.6),
           lambda: normalizers.Prepend(rng.choice(["_", "\u2581", "a "])),
           lambda: normalizers.Replace(rng.choice([" ", "a", "\u0301", "'", "ab"]), rng.choice(["", "_", "\u2581", "aa"])),
           lambda: normalizers.Replace(Regex(rng.choice([r"\s+", r"\p{N}", "a+", r"[^\S\n]"])), rng.choice(["", " ", "x"]))]
    steps = [rng.choice(one)() for _ in range(rng.randrange(4))]
    if not steps:
        return None
    return steps[0] if len(steps) == 1 else normalizers.Sequence(steps)


def random_splits(rng):
    behaviors = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
    steps = []
    for _ in range(rng.randrange(4)):
        kind = rng.random()
        if kind < 0.7:
            steps.append(split(rng.choice(PATTERNS), rng.choice(behaviors), rng.random() < 0.3))
        elif kind < 0.85:
            steps.append(pre_tokenizers.Split(rng.choice([" ", "a", "ab", "."]), rng.choice(behaviors), rng.random() < 0.3))
        else:
            steps.append(pre_tokenizers.Digits(individual_digits=rng.random() < 0.5))
    return steps + [pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.4, use_regex=rng.random() < 0.5)]


TOKENS = ["<think>", "</think>", "<|end|>", "<|end|>>", "word", "wor", "caf\u00e9", "A\u030a", "UP", "\u00e9\u00e9", "\u2581",
          "ab", "1"]


def random_added(rng):
    return [tokenizers.AddedToken(text, single_word=rng.random() < 0.3, lstrip=rng.random() < 0.3,
                                  rstrip=rng.random() < 0.3, normalized=rng.random() < 0.4, special=rng.random() < 0.4)
            for text in rng.sample(TOKENS, rng.randrange(5))]


@pytest.mark.parametrize("seed", range(60 * ROUNDS))
def test_random_tokenizers(seed, tmp_path):
    rng = random.Random(seed)
    added = random_added(rng)
    both = Both(build(random_normalizer(rng), random_splits(rng), rng.random() < 0.3, added), tmp_path)
    for _ in range(120):
        both.check(some_text(rng, [t.content for t in added] + ["word", "words", " <think> ", "UP\u0301"]))


@pytest.mark.parametrize("around", ["<s> $A", "<s> $A </s> </s>", "$A", "$A </s>"])
def test_post_processors(around, tmp_path):
    reference = build(None, KNOWN["llama3"][1], True, [tokenizers.AddedToken(t, special=True) for t in ("<s>", "</s>")])
    ids = [(t, reference.token_to_id(t)) for t in ("<s>", "</s>")]
    template = tokenizers.processors.TemplateProcessing(single=around, special_tokens=ids)
    reference.post_processor = tokenizers.processors.Sequence([tokenizers.processors.ByteLevel(), template])
    both = Both(reference, tmp_path)
    for text in ("", "Hello world <s>", "a\n"):
        reference.encode_special_tokens = True
        expected = reference.encode(text).ids
        assert both.ours.encode(text, around=True) == both.packed.encode(text, around=True) == expected
        assert both.ours.encode(text) == reference.encode(text, add_special_tokens=False).ids
