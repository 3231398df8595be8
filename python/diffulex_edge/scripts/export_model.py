"""python -m diffulex_edge.scripts.export_model: a Hugging Face checkpoint becomes a .pte.

    python -m diffulex_edge.scripts.export_model --hf-model-path DIR --output-path model.pte --backend xnnpack
    python -m diffulex_edge.scripts.export_model DIR -o model.pte --quantization dynamic_int8 --max-seq-len 512
    python -m diffulex_edge.scripts.export_model DIR -o phone.pte --backend coreml --quantization weight_only_int8

A signal ends it with status 128 + its number, and the file that was to be written is as it was.
"""
import argparse
import signal
import sys
from typing import Any, Callable, List, Optional, Sequence

import diffulex_edge
from diffulex_edge.backends.base import scheme_of
from diffulex_edge.errors import DlxError

__all__ = ["main"]


def _names(rows: Callable[[], Sequence[Any]], default: str) -> str:
    """"int8-dynamic (or int8), none (default)"; what to call when there is no library to ask."""
    try:
        return ", ".join(row.name + (f" (or {', '.join(row.aliases)})" if getattr(row, "aliases", ()) else "")
                         + (" (default)" if row.name == default else "") for row in rows())
    except DlxError:
        return f"a name of diffulex_edge.{rows.__name__}()"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m diffulex_edge.scripts.export_model",
        description="Exports a checkpoint of LLaDA, Dream, SDAR or Fast-dLLM v2 as an ExecuTorch program.")
    parser.add_argument("model_path", nargs="?", help="checkpoint folder, or org/name in the Hugging Face cache")
    parser.add_argument("--hf-model-path", metavar="DIR", help="the same, as an option")
    parser.add_argument("-o", "--output", "--output-path", dest="output", required=True, metavar="FILE",
                        help="the .pte to write")
    parser.add_argument("--backend", default="xnnpack", help=_names(diffulex_edge.export_backends, "xnnpack"))
    parser.add_argument("--quantization", default="none",
                        help=_names(diffulex_edge.export_schemes, "none") + "; none is fp16 with coreml and qnn")
    parser.add_argument("--model-type", metavar="NAME",
                        help="family, where config.json names none: llada, dream, sdar, fast_dllm_v2")
    parser.add_argument("--max-seq-len", type=int, default=0, metavar="N",
                        help="positions of the program (default: the checkpoint's, at most 2048)")
    parser.add_argument("--seq-len", type=int, default=0, metavar="N",
                        help="rows one call may run (default: --max-seq-len)")
    parser.add_argument("--block-size", type=int, default=0, metavar="N",
                        help="overrides the checkpoint's block length")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N",
                        help="1: programs answer one sequence at a time")
    parser.add_argument("--kv", metavar="FORM", help=_names(diffulex_edge.export_kv_forms, ""))
    parser.add_argument("--minimum-deployment-target", metavar="NAME",
                        help="coreml: the oldest system that is to run the file: iOS16, iOS17, iOS18 (default)")
    parser.add_argument("--compute-units", "--compute-unit", metavar="NAME",
                        help="coreml: all, cpu_only, cpu_and_gpu, cpu_and_ne (or cpu_and_ane, default)")
    parser.add_argument("--soc", "--soc-model", metavar="NAME",
                        help="qnn: the chip that the file is for (default: SM8650): " + _names(diffulex_edge.export_socs, ""))
    parser.add_argument("--qnn-lib-dir", metavar="DIR", help="qnn: a folder of Qualcomm's libraries")
    parser.add_argument("--delegate-layers", type=int, default=0, metavar="N",
                        help="coreml, qnn: decoder layers of one delegate at most (default: all in one)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


class _Progress:
    """Percent on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._on = not quiet and sys.stderr.isatty()
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // total if total else 100
        if self._on and percent != self._last:
            self._last = percent
            print(f"\rwriting {percent} %", end="\n" if percent == 100 else "", file=sys.stderr, flush=True)


def main(argv: Optional[List[str]] = None) -> int:
    """Exit status 0; 1 when the export failed; 2 for arguments that are malformed; 130 for Ctrl-C."""
    parser = _parser()
    arguments: Any = parser.parse_args(argv)
    if bool(arguments.model_path) == bool(arguments.hf_model_path):
        parser.error("give the checkpoint folder once: as the first argument or with --hf-model-path")
    if arguments.batch_size != 1:
        parser.error(f"--batch-size {arguments.batch_size}: programs answer one sequence at a time; leave it at 1")
    for name in ("max_seq_len", "seq_len", "block_size", "delegate_layers"):
        if getattr(arguments, name) < 0:
            parser.error(f"--{name.replace('_', '-')} must not be negative")
    model_type = "fast_dllm_v2" if arguments.model_type == "fast_dllm" else arguments.model_type
    try:
        result = diffulex_edge.export_checkpoint(
            arguments.model_path or arguments.hf_model_path, arguments.output, backend=arguments.backend,
            quantization=scheme_of(arguments.backend, arguments.quantization), model_type=model_type, max_seq_len=arguments.max_seq_len,
            max_rows=arguments.seq_len, block_size=arguments.block_size, kv=arguments.kv,
            delegate_layers=arguments.delegate_layers, minimum_deployment_target=arguments.minimum_deployment_target,
            compute_units=arguments.compute_units, soc=arguments.soc, qnn_lib_dir=arguments.qnn_lib_dir, progress=_Progress(arguments.quiet))
    except (DlxError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; {arguments.output} is as it was", file=sys.stderr)
        return 130
    if not arguments.quiet:
        print(f"{arguments.output}: {result.file_bytes / 1e6:.1f} MB in {result.seconds:.1f} s, "
              f"{result.quantised_tensors} tensors quantised, {result.float_tensors} float")
    return 0


def _stop(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):      # the export is cancelled, and leaves nothing behind
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    sys.exit(main())
