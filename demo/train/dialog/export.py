"""python -m dialog.export RUN/last.pt FOLDER: the averaged weights as a folder in the published SDAR layout (bf16)."""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file

from bytelevel import token_entry
from dialog import tokenizer

HERE = pathlib.Path(__file__).resolve().parent
EOT, END, MASK = "<|endoftext|>", "<|im_end|>", "<|MASK|>"


def files(config):
    """Every JSON file of the folder by name."""
    entries = {i: {k: v for k, v in entry.items()} for i, entry in tokenizer.ADDED.items()}
    additional = tokenizer.SPECIAL[1:] + [MASK]
    special = {key: {k: v for k, v in token_entry(text).items() if k != "special"}
               for key, text in (("eos_token", EOT), ("mask_token", MASK), ("pad_token", EOT))}
    return {
        "config.json": config,
        "generation_config.json": dict(
            bos_token_id=tokenizer.EOT, do_sample=True, eos_token_id=[tokenizer.IM_END, tokenizer.EOT],
            pad_token_id=tokenizer.EOT, temperature=0.6, top_k=20, top_p=0.95, transformers_version="4.51.0"),
        "tokenizer.json": tokenizer.as_json(),
        "vocab.json": tokenizer.VOCAB,
        "added_tokens.json": {entry["content"]: i for i, entry in entries.items()},
        "tokenizer_config.json": dict(
            add_bos_token=False, add_prefix_space=False, added_tokens_decoder={str(i): e for i, e in entries.items()},
            additional_special_tokens=additional, bos_token=None,
            chat_template=(HERE / "chat_template.jinja").read_text(), clean_up_tokenization_spaces=False, eos_token=EOT,
            errors="replace", mask_token=MASK, model_max_length=config["max_position_embeddings"], pad_token=EOT,
            split_special_tokens=False, tokenizer_class="Qwen2Tokenizer", unk_token=None),
        "special_tokens_map.json": dict(additional_special_tokens=additional, **special),
    }


def main():
    state, out = torch.load(sys.argv[1], map_location="cpu"), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    weights, part = {k: v.to(torch.bfloat16).contiguous() for k, v in state["ema"].items()}, out / "model.safetensors.part"
    save_file(weights, str(part), metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(out / "model.safetensors")
    for name, content in files(state["config"]).items():
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    (out / "merges.txt").write_text(tokenizer.merges_txt())
    shutil.copyfile(HERE / "chat_template.jinja", out / "chat_template.jinja")


if __name__ == "__main__":
    main()
