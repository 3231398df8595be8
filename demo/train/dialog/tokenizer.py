"""The tokenizer: byte-level BPE whose merges build the words of the questions, and nothing else.

Letters of other words and digits stay single tokens as far as BPE allows, because the tasks are about letters and digits.
A chain of merges has to start somewhere, so each starts at the pair of letters that is rarest in the word list; words
whose rarest pair is not rare stay spelled out.
"""
from collections import Counter

from bytelevel import byte_alphabet, token_entry, tokenizer_json
from dialog import tasks

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
         r"|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
           "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
           "<|image_pad|>", "<|video_pad|>"]
PLAIN = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>",
         "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>", "<|MASK|>"]
MUST = ["user", "assistant"]
SPACED = (["What", "Add", "Sort", "Put", "Spell", "How", "Name", "Convert", "Which", "Now", "And", "Plus"] + tasks.MONTHS
          + tasks.DAYS)
MAYBE = ["words", "alphabetical", "order", "word", "backwards", "many", "letters", "have", "date", "days", "day", "after",
         "before", "comes", "first", "last", "reverse", "same", "that", "the", "spell", "you", "does", "numbers", "units"]
RARE = 12                                                # occurrences in the word list


def build_merges():
    """Merges in order of rank. Later ones never undo earlier ones, so each word, once whole, stays whole."""
    pairs = Counter(a + b for w in tasks.WORDS for a, b in zip(w, w[1:]))
    merges, known = [], set()

    def pieces(word):
        parts = list(word)
        for a, b in merges:
            i = 0
            while i + 1 < len(parts):
                if parts[i] == a and parts[i + 1] == b:
                    parts[i:i + 2] = [a + b]
                i += 1
        return parts

    def join(a, b):
        if a + b not in known:
            known.add(a + b)
            merges.append((a, b))

    def cost(a, b):
        return pairs[a[-1] + b[0]] if len(a) == len(b) == 1 else pairs[a[-1] + b[0]] / 4

    def make_whole(word, limit=None):
        while len(parts := pieces(word)) > 1:
            grown = [i for i in range(len(parts) - 1) if max(len(parts[i]), len(parts[i + 1])) > 1]
            at = min(grown or range(len(parts) - 1), key=lambda i: cost(parts[i], parts[i + 1]))
            if not grown and limit is not None and cost(parts[at], parts[at + 1]) > limit:
                return False
            join(parts[at], parts[at + 1])
        return True

    for word in MUST + SPACED + MAYBE:
        if make_whole(word, RARE if word in MAYBE else None) and word not in MUST:
            join("Ġ", word)
    return merges


MERGES = build_merges()
VOCAB = {text: i for i, text in enumerate([ch for _, ch in byte_alphabet()] + [a + b for a, b in MERGES])}
ADDED = {len(VOCAB) + i: token_entry(t, special=i < len(SPECIAL)) for i, t in enumerate(SPECIAL + PLAIN)}
EOT, IM_START, IM_END = (len(VOCAB) + i for i in range(3))
MASK = len(VOCAB) + len(ADDED) - 1
ROWS = -(-(MASK + 1) // 32) * 32                          # rows of the embedding table, the last ones unused


def as_json():
    return tokenizer_json(SPLIT, VOCAB, [list(m) for m in MERGES], ADDED)


def merges_txt():
    return "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES)
