"""The byte alphabet of GPT-2 and the entries of Hugging Face tokenizer files that both models write."""


def byte_alphabet():
    """List of (byte, unicode character), in id order."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    pairs = [(b, chr(b)) for b in keep]
    rest = [b for b in range(256) if b not in keep]
    return pairs + [(b, chr(256 + n)) for n, b in enumerate(rest)]


def token_entry(text, special=True):
    return dict(content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=special)


def tokenizer_json(split, vocab, merges, added):
    """tokenizer.json of a byte-level BPE; added: {id: token_entry}."""
    return dict(
        version="1.0", truncation=None, padding=None, added_tokens=[dict(id=i, **entry) for i, entry in added.items()],
        normalizer=dict(type="NFC"),
        pre_tokenizer=dict(type="Sequence", pretokenizers=[
            dict(type="Split", pattern=dict(Regex=split), behavior="Isolated", invert=False),
            dict(type="ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=False)]),
        post_processor=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=False),
        decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix="", end_of_word_suffix="",
                   fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocab, merges=merges))
