"""Puzzle generation (through sudoku6.c) and the text format.

Prompt: "Solve\n" and six rows of six characters ('.' = blank), each row with a newline  -> 48 tokens.
Answer: six rows of six digits, each with a newline (42 tokens), padded with <|endoftext|> -> 48 tokens.
The vocabulary is the 256 bytes in GPT-2 order followed by the special tokens, so every ASCII character is one token.
"""
import ctypes
import pathlib
import subprocess

import numpy as np

from bytelevel import byte_alphabet

HERE = pathlib.Path(__file__).resolve().parent
INSTRUCTION = "Solve\n"
PROMPT_LEN, GEN_LEN = 48, 48
SEQ_LEN = PROMPT_LEN + GEN_LEN
SPECIALS = ["<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
BOS, EOS, MASK, HEADER, HEADER_END, EOT = range(256, 262)
VOCAB = 288  # rows of the embedding; 262..287 are unused padding


ID_OF_BYTE = np.argsort([byte for byte, _ in byte_alphabet()])


def encode(text):
    return ID_OF_BYTE[np.frombuffer(text.encode(), np.uint8)]


def library():
    so, src = HERE / "libsudoku6.so", HERE / "sudoku6.c"
    if not so.exists() or so.stat().st_mtime < src.stat().st_mtime:
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(so), str(src)], check=True)
    return ctypes.CDLL(str(so)).sudoku6_generate


_GENERATE, _PTR = library(), ctypes.POINTER(ctypes.c_uint8)
_GENERATE.argtypes, _GENERATE.restype = [ctypes.c_uint64] + [ctypes.c_int] * 4 + [_PTR, _PTR], None


def generate(seed, n, lo=10, hi=22, heldout=False):
    """n puzzles with lo..hi clues; returns two uint8 arrays [n, 36], 0 = blank."""
    puzzle, solution = np.zeros((n, 36), np.uint8), np.zeros((n, 36), np.uint8)
    _GENERATE(seed, n, lo, hi, int(heldout), puzzle.ctypes.data_as(_PTR), solution.ctypes.data_as(_PTR))
    return puzzle, solution


_DIGIT, _NEWLINE = encode(".123456"), ID_OF_BYTE[10]


def to_ids(puzzle, solution):
    """Token ids [n, 96] of prompt and answer."""
    n = len(puzzle)
    ids = np.full((n, SEQ_LEN), EOS, np.int64)
    ids[:, :6] = encode(INSTRUCTION)
    for start, grid in ((6, puzzle), (PROMPT_LEN, solution)):
        rows = np.full((n, 6, 7), _NEWLINE, np.int64)
        rows[:, :, :6] = _DIGIT[grid].reshape(n, 6, 6)
        ids[:, start:start + 42] = rows.reshape(n, 42)
    return ids


def to_text(grid):
    return "".join("".join(".123456"[d] for d in row) + "\n" for row in grid.reshape(6, 6))


def questions(seed=900, count=500, heldout=True):
    """Puzzles, nearly the same number for each clue count 10..22; the defaults give the held-out file."""
    each, more = divmod(count, 13)
    parts = [generate(seed + c, each + (c < 10 + more), c, c, heldout) for c in range(10, 23)]
    order = np.random.default_rng(7).permutation(count)
    return [np.concatenate(grids)[order] for grids in zip(*parts)]
