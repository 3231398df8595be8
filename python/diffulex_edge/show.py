"""Generations and completions as HTML: a table of the passes, in which the answer appears out of the masks. Notebooks call
it through _repr_html_."""
import html
from typing import TYPE_CHECKING, Dict, List, Mapping, Tuple

if TYPE_CHECKING:
    from .decode import Generation

__all__ = ["denoising_html"]

# So many passes and positions are shown; more would be a page that nobody reads and a notebook that grows.
MOST_PASSES, MOST_POSITIONS = 64, 256

_STYLE = (".dlx-denoising{border-collapse:collapse;font:12px/1.5 ui-monospace,monospace}.dlx-denoising caption{text-align:left}"
          ".dlx-denoising td,.dlx-denoising th{padding:0 3px;text-align:center;white-space:pre;"
          "border:1px solid rgba(128,128,128,.25)}")


def _colour(confidence: float) -> str:
    """Green for what is sure, red for what is not. Scores that are no probabilities are negative entropies: 0 is sure."""
    share = min(max(confidence if confidence >= 0 else 1 + confidence / 2, 0.0), 1.0)
    return f"hsla({int(120 * share)},70%,50%,.45)"


def _cell(text: str, style: str = "", title: str = "") -> str:
    words = html.escape(text.replace("\n", "\u23ce").replace("\t", "\u21e5")) or "&nbsp;"
    attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in (("style", style), ("title", title)) if value)
    return f"<td{attributes}>{words}</td>"


def denoising_html(generation: "Generation", texts: Mapping[int, str]) -> str:
    """A table: one line a pass, one cell a position of the answer. Tokens that a pass reveals are coloured by their
    confidence, which a tooltip tells; a dot is a mask."""
    first = generation.prompt_length
    steps = [step for step in generation.steps if step.accepted]
    positions = sorted({a.position for step in steps for a in step.accepted})
    shown = positions[:MOST_POSITIONS]
    known: Dict[int, str] = {}
    rows: List[str] = []
    for number, step in enumerate(steps[:MOST_PASSES], 1):
        new: Dict[int, Tuple[str, float]] = {a.position: (texts.get(a.id, str(a.id)), a.confidence) for a in step.accepted}
        cells = []
        for position in shown:
            if position in new:
                text, confidence = new[position]
                cells.append(_cell(text, f"background:{_colour(confidence)}", f"position {position}, {confidence:.3f}"))
            elif position in known:
                cells.append(_cell(known[position], "opacity:.75"))
            else:
                cells.append(_cell("\u00b7", "opacity:.35"))
        known.update({position: text for position, (text, _) in new.items()})
        rows.append(f"<tr><th>{number}</th>{''.join(cells)}</tr>")
    left = []
    if len(steps) > MOST_PASSES:
        left.append(f"{len(steps) - MOST_PASSES} more passes")
    if len(positions) > len(shown):
        left.append(f"{len(positions) - len(shown)} more positions")
    passes = f"{generation.num_forwards} model call{'' if generation.num_forwards == 1 else 's'}"
    words = (f"{generation.algorithm}: {len(generation.answer_ids)} tokens behind {first}, {passes}, "
             f"{generation.milliseconds:.0f} ms, {generation.finish_reason}{', ' if left else ''}{', '.join(left)}")
    return (f'<style>{_STYLE}</style><div style="overflow-x:auto"><table class="dlx-denoising">'
            f"<caption>{html.escape(words)}</caption>{''.join(rows)}</table></div>")
