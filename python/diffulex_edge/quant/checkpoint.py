"""Weights of checkpoint folders and of files: names as the original's modules have them, and bytes. Reads the headers of
safetensors files only."""
import json
import os
import struct
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

from .._native import PathLike
from ..errors import FormatError

__all__ = ["MIB", "Weight", "elements_of", "float_table", "folder_of", "names_of", "sizes_of", "weight_bytes", "weights_of"]

MIB = 1024 * 1024
_MOST_HEADER = 100_000_000      # the limit of safetensors itself

# LLaDA's names as the original's modules have them; the other families have these names in their checkpoints.
_LLADA = {"attn_out": "self_attn.o_proj", "q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj",
          "v_proj": "self_attn.v_proj", "ff_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "ff_out": "mlp.down_proj"}


class Weight(NamedTuple):
    """A matrix that can be quantised."""

    name: str       # of the original's module: "layers.0.mlp.down_proj", "embed_tokens", "lm_head"
    pattern: str    # what export_checkpoint calls it

    @property
    def kind(self) -> str:
        """The kind of module that holds it: "embedding" or "linear"."""
        return "embedding" if self.name == "embed_tokens" else "linear"

    @property
    def is_head(self) -> bool:
        """Whether it makes the logits."""
        return self.name == "lm_head"

    def has_one_of(self, parts: Iterable[str]) -> bool:
        """Whether one of the texts is part of its name, here or in the checkpoint, without regard to case."""
        return any(part.lower() in name.lower() for part in parts for name in (self.name, self.pattern))


def folder_of(model: Any) -> Path:
    """The folder that a name means. TypeError for what is no name, torch modules for instance."""
    from ..pretrained import folder_of as find
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"quantisation takes a checkpoint folder and writes a .pte, and {type(model).__name__} is no "
                        "folder's name; save the module with safetensors and a config.json first")
    return find(model)


def _files(folder: Path) -> List[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    return sorted(folder.glob("*.safetensors"))


def _shapes(folder: Path) -> Dict[str, List[int]]:
    shapes: Dict[str, List[int]] = {}
    for path in _files(folder):
        try:
            with open(path, "rb") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                header: Any = json.loads(file.read(size).decode()) if size <= _MOST_HEADER else None
            shapes.update({name: [int(n) for n in entry["shape"]] for name, entry in header.items()
                           if name != "__metadata__"})
        except (ValueError, struct.error, AttributeError, KeyError, TypeError):
            raise FormatError(f"'{path}' does not begin with a safetensors header") from None
    return shapes


def _is_tied(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return bool(config.get("tie_word_embeddings") or config.get("weight_tying"))


def _module(tensor: str) -> str:
    name = tensor[:-len(".weight")] if tensor.endswith(".weight") else tensor
    name = name[len("model."):] if name.startswith("model.") else name
    if name == "transformer.wte":
        return "embed_tokens"
    if name == "transformer.ff_out":
        return "lm_head"
    parts = name.split(".")
    if parts[:2] == ["transformer", "blocks"] and len(parts) == 4:
        return f"layers.{parts[2]}.{_LLADA.get(parts[3], parts[3])}"
    return name


def _model_tensors(folder: Path) -> Dict[str, List[int]]:
    """What the model has: a head that shares the table is there once, tables of rotary angles are not."""
    tied = _is_tied(folder)
    return {name: shape for name, shape in _shapes(folder).items()
            if not name.endswith("inv_freq") and not (tied and _module(name) == "lm_head")}


def weights_of(folder: Path) -> List[Weight]:
    """All matrices of the model; a head that shares the embedding table is one of its own."""
    weights = [Weight(_module(name), name[:-len(".weight")] if name.endswith(".weight") else name)
               for name, shape in _model_tensors(folder).items() if len(shape) == 2]
    if not any(weight.is_head for weight in weights):
        weights.append(Weight("lm_head", "lm_head"))
    return sorted(weights)


def names_of(folder: Path) -> List[str]:
    """Names of all of the model's tensors, as the original's modules have them, and in the checkpoint."""
    return sorted({part for name in _shapes(folder) for part in (_module(name), name)} | {"lm_head"})


def elements_of(folder: Path) -> int:
    """Numbers in all of the model's tensors."""
    total = 0
    for shape in _model_tensors(folder).values():
        n = 1
        for length in shape:
            n *= length
        total += n
    return total


def weight_bytes(report: Dict[str, Any]) -> int:
    """Of a file that inspect describes: its weights with their scales and biases."""
    return sum(int(report["parts"][part]) for part in ("embedding", "head", "layers", "norms")) + _payload_bytes(report)


def _payload_bytes(report: Dict[str, Any]) -> int:
    """Of delegates of other backends than XNNPACK, which hold their weights themselves."""
    return sum(int(delegate["payload_bytes"]) for method in report["methods"] for delegate in method.get("delegates", ())
               if delegate["id"] != "XnnpackBackend")


def float_table(report: Dict[str, Any]) -> bool:
    """Whether the file's embedding table is float32."""
    return any(matrix["name"] == "embed.weight" and matrix["dtype"] == "f32" for matrix in report.get("not_quantised", ()))


def sizes_of(model: PathLike) -> Tuple[float, float, float]:
    """What get_model_size_info returns."""
    from ..session import inspect
    if not os.path.isfile(model):
        total = 4 * elements_of(folder_of(model))
        return total / MIB, 0.0, total / MIB
    report = inspect(model)
    quantised = sum(kind["bytes"] for kind in report.get("linears", ()) if kind["kind"] != "f32-f32w")
    quantised += _payload_bytes(report)
    head_is_table = report["parts"]["head"] == 0    # then it is a linear layer as well
    if not float_table(report) and not head_is_table:
        quantised += report["parts"]["embedding"]
    total = weight_bytes(report)
    return (total - quantised) / MIB, quantised / MIB, total / MIB
