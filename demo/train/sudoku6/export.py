"""python -m sudoku6.export RUN/final.pt FOLDER: the EMA weights as a folder in the published LLaDA layout (bf16, byte tokenizer)."""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from bytelevel import byte_alphabet, token_entry, tokenizer_json
from sudoku6 import data

SPLIT = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


def main():
    ck, out = torch.load(sys.argv[1], map_location="cpu"), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.to(torch.bfloat16).contiguous() for k, v in ck["ema"].items()}, str(out / "model.safetensors"),
              metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    bos, eos = data.SPECIALS[:2]
    special = {k: {a: b for a, b in token_entry(t).items() if a != "special"}
               for k, t in (("bos_token", bos), ("eos_token", eos), ("pad_token", eos))}
    files = {
        "config.json": ck["config"],
        "generation_config.json": dict(_from_model_config=True, bos_token_id=data.BOS, eos_token_id=data.EOS,
                                       pad_token_id=data.EOS, transformers_version="4.46.3", use_cache=False),
        "tokenizer.json": tokenizer_json(
            SPLIT, {ch: i for i, (_, ch) in enumerate(byte_alphabet())}, [],          # no merges: one token per byte
            {256 + i: token_entry(t) for i, t in enumerate(data.SPECIALS)}),
        "tokenizer_config.json": dict(
            add_bos_token=False, add_eos_token=False,
            added_tokens_decoder={str(256 + i): token_entry(t) for i, t in enumerate(data.SPECIALS)}, bos_token=bos,
            clean_up_tokenization_spaces=False, eos_token=eos, fast_tokenizer=True, merges_file=None,
            model_input_names=["input_ids", "attention_mask"], model_max_length=128, pad_token=eos,
            tokenizer_class="PreTrainedTokenizerFast", vocab_file=None),
        "special_tokens_map.json": special,
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
