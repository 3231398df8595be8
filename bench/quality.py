#!/usr/bin/env python3
"""What every quantisation scheme does to answers: exports the trained models of this repository in each of them, lets them
answer all held-out questions, and compares with float32. The table is that in docs/QUANTIZATION.md, between the marks.

usage: quality.py [--models NAME,...] [--recipes NAME,...] [--only PART,...] [--count N] [--tuning N] [--rounds N]
                  [--threads N] [--folder DIR] [--program PATH] [--json | --write]

  --only    parts: files, logits, answers, thresholds, times (default: all). Times want a machine without other work:
            `quality.py --only times --write` makes them again and leaves the rest of the table as it is
  --count   only so many held-out questions of each model; --tuning so many questions to choose thresholds on
  --folder  where files and results lie (default: build/quality). An interrupted run goes on from there: a result is made
            again when its file, its questions or its options are others
  --write   put the tables into docs/QUANTIZATION.md

Files: `diffulex-edge export` with the options of RECIPES. Logits: KL divergence and same best token against the
checkpoint in float32, on masked held-out questions, by `export --validate-only`. Answers: exact match at one token a pass
(preset exact) and at the threshold of float32's preset balanced; p is the exact McNemar test against float32 on the same
questions. Thresholds: on questions that the generators in demo/train draw anew, none of them in the held-out file, the
lowest of GRID at which a scheme has at least as many right answers as float32 at its own threshold, or the best one where
none has; then answers to all held-out questions at it. Calibration data is drawn from the training side of the generators'
split. Times: one pass of the shape that decoding has, all files of a model in turn, round after round; the table has the
median, over that of float32.

Needs the release build, numpy and a C compiler.
"""
import argparse
import hashlib
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import demo_items
from heldout import DEFAULT_PROGRAM, ROOT, evaluate, paired, positive, processor

PAGE = ROOT / "docs" / "QUANTIZATION.md"
BEGIN, END = "<!-- quality: begin (bench/quality.py --write) -->", "<!-- quality: end -->"
PARTS = ("files", "logits", "thresholds", "answers", "times")
BASE = "none"
PRESETS = ("balanced", "fast")
GRID = (0.75, 0.8, 0.825, 0.85, 0.875, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99)
CALIBRATED = "--calibration {calibration} --calibration-samples 256"

# name: options of the export; a new recipe is a new row. {calibration} is a file of questions with answers.
RECIPES = {
    "none": "--quantization none",
    "fp16": "--quantization fp16",
    "bf16": "--quantization bf16",
    "int8-dynamic": "--quantization int8-dynamic",
    "int8-weight-only": "--quantization int8-weight-only",
    "int8-static": f"--quantization int8-static {CALIBRATED}",
    "int4": "--quantization int4",
    "int4, gptq": f"--quantization int4 --rounding gptq {CALIBRATED}",
    "int4-g128": "--quantization int4-g128",
    "int4-g64": "--quantization int4-g64",
    "int4-g32": "--quantization int4-g32",
    "int4-g32, mse": "--quantization int4-g32 --rounding mse",
    "int4-g32, gptq": f"--quantization int4-g32 --rounding gptq {CALIBRATED}",
    "int4-g32, awq": f"--quantization int4-g32 --rounding awq {CALIBRATED}",
    "int4-g32, awq-gptq": f"--quantization int4-g32 --rounding awq-gptq {CALIBRATED}",
}

# thresholds: those of float32's presets; rows, context: a pass of the decode
MODELS = {
    "dialog-sdar": {"folder": ROOT / "demo" / "dialog-sdar", "options": "", "rows": 8, "context": 64,
                    "thresholds": {"balanced": 0.9, "fast": 0.85}},
    "sudoku6-llada": {"folder": ROOT / "demo" / "sudoku6-llada", "options": "--max-new-tokens 48 --block-length 48",
                      "rows": 96, "context": 0, "thresholds": {"balanced": 0.9, "fast": 0.8}},
}
TINY = {name: {"folder": ROOT / "tests" / "data" / "checkpoints" / name}
        for name in ("llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny")}


def digest(*parts):
    """Of the contents of paths and the text of everything else."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
    return h.hexdigest()[:16]


def choose(right_at, wanted, grid=GRID):
    """(threshold, whether it has the `wanted` right answers): the lowest that has, else the best. right_at(threshold) is
    asked from below, and no further than needed: the more passes, the longer it takes."""
    curve = {}
    for threshold in sorted(grid):
        curve[threshold] = right_at(threshold)
        if curve[threshold] >= wanted:
            return threshold, True
    return min(curve, key=lambda t: (-curve[t], t)), False


class Results:
    """{recipe: {part: ...}} of one model, in a file that is written after every result: runs with other models may share
    the folder."""

    def __init__(self, path):
        self.path = path
        self.recipes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def row(self, recipe):
        return self.recipes.setdefault(recipe, {})

    def part(self, row, name, of, make):
        """What row[name] says; made anew unless it was made of the same, and kept."""
        if row.get(name, {}).get("of") != of:
            row[name] = {**make(), "of": of}
            self.save()
        return row[name]

    def save(self):
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.recipes, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, self.path)


class Bench:
    def __init__(self, args):
        self.args = args
        args.folder.mkdir(parents=True, exist_ok=True)
        self.results = {model: Results(args.folder / f"{model}.json") for model in (*MODELS, *TINY)}

    def say(self, *words):
        print(*words, file=sys.stderr, flush=True)

    def items(self, model, kind):
        """A file of questions that are not held out: "tuning" or "calibration"."""
        count, seed, heldout = {"tuning": (self.args.tuning, 5000, True), "calibration": (256, 7000, False)}[kind]
        path = self.args.folder / f"{model}-{kind}-{count}.jsonl"
        if not path.exists():
            draft = path.with_suffix(".part")
            demo_items.write(draft, model, self.heldout(model), seed, count, heldout)
            os.replace(draft, path)
        return path

    def heldout(self, model):
        return MODELS[model]["folder"] / "eval" / "heldout.jsonl"

    def random_ids(self, model):
        """For a checkpoint that was not trained: ids at random, the second half of each line an answer."""
        path = self.args.folder / f"{model}-ids.jsonl"
        vocabulary = json.loads((TINY[model]["folder"] / "config.json").read_text())["vocab_size"]
        rng = random.Random(1)
        lines = [{"ids": [rng.randrange(vocabulary // 2) for _ in range(64)], "answer_start": 32} for _ in range(100)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    def pte(self, model, recipe):
        return self.args.folder / f"{model}-{recipe.replace(', ', '-')}.pte"

    def command(self, *words):
        return subprocess.run([str(self.args.program), *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)

    # Parts. Each fills the row of a model and a recipe.

    def export(self, model, recipe):
        """Whether there is a program; a form that does not fit the model's rows is a result, too."""
        folder, pte, options = (MODELS.get(model) or TINY[model])["folder"], self.pte(model, recipe), RECIPES[recipe]
        calibration = None
        if "{calibration}" in options:
            calibration = self.items(model, "calibration") if model in MODELS else self.random_ids(model)
        words = shlex.split(options.replace("{calibration}", shlex.quote(str(calibration))))

        def make():
            done = self.command("export", folder, pte, "--json", *words)
            if done.returncode == 0:
                return {"bytes": pte.stat().st_size}
            pte.unlink(missing_ok=True)
            if "does not fit" not in done.stderr:
                raise SystemExit(f"quality.py: {model}, {recipe}: {done.stderr.strip()}")
            return {"refused": done.stderr.strip().removeprefix("diffulex-edge: ")}

        row = self.results[model].row(recipe)
        of = digest(options, folder / "model.safetensors" if (folder / "model.safetensors").exists() else "",
                    Path(self.args.program), *([calibration] if calibration else []))
        if "file" in row and "refused" not in row["file"] and not pte.exists():
            del row["file"]
        return "refused" not in self.results[model].part(row, "file", of, make)

    def logits(self, model, recipe):
        folder, pte = (MODELS.get(model) or TINY[model])["folder"], self.pte(model, recipe)
        data = self.heldout(model) if model in MODELS else self.random_ids(model)

        def make():
            done = self.command("export", folder, pte, "--validate-only", "--json", "--validation", data,
                                "--validation-samples", self.args.samples)
            if done.returncode:
                raise SystemExit(f"quality.py: {model}, {recipe}: {done.stderr.strip()}")
            found = json.loads(done.stdout)["validation"]
            return {key: found[key] for key in ("rows", "kl_mean", "kl_most", "agreement")}

        self.results[model].part(self.results[model].row(recipe), "logits", digest(pte, data, self.args.samples), make)

    def answer(self, model, recipe, questions, count, preset, threshold=None):
        """The results of one evaluation, kept under its questions and its rule."""
        pte, options = self.pte(model, recipe), ["--preset", preset, *MODELS[model]["options"].split()]
        options += ["--threshold", str(threshold)] if threshold else []
        kept = self.results[model].row(recipe).setdefault(f"on {questions.stem}", {})

        def make():
            found = evaluate(self.args.program, pte, questions, options, count, self.args.threads, f"quality.py: {model}, {recipe}")
            return {key: found[key] for key in ("questions", "right", "passes", "tokens", "tokens_per_pass", "wrong")}

        return self.results[model].part(kept, str(threshold or preset), digest(pte, questions, count, options), make)

    def answers(self, model, recipe):
        for preset, threshold in (("exact", None), *((p, MODELS[model]["thresholds"][p]) for p in PRESETS)):
            self.answer(model, recipe, self.heldout(model), self.args.count, preset, threshold)

    def thresholds(self, model, recipe):
        """The threshold of each preset, and the answers to the held-out questions with it."""
        questions, tuned = self.items(model, "tuning"), {}
        for preset in PRESETS:
            own = MODELS[model]["thresholds"][preset]
            wanted = self.answer(model, BASE, questions, 0, "balanced", own)["right"]
            threshold, reached = (own, True) if recipe == BASE else choose(
                lambda t: self.answer(model, recipe, questions, 0, "balanced", t)["right"], wanted)
            self.answer(model, recipe, questions, 0, "balanced", own)
            self.answer(model, recipe, self.heldout(model), self.args.count, "balanced", threshold)
            tuned[preset] = {"threshold": threshold, "reached": reached}
        self.results[model].row(recipe)["tuned"] = tuned
        self.results[model].save()

    def times(self, model, recipes):
        """One pass, all files in turn. Not kept from one run to the next: the machine is another every time."""
        sys.path.insert(0, str(ROOT / "python"))
        os.environ.setdefault("DLX_BUILD_DIR", str(Path(self.args.program).resolve().parent.parent))
        from passes import Passes
        shape = MODELS[model]
        open_ones = {r: Passes(self.pte(model, r), self.args.threads, shape["context"]) for r in recipes}
        times = {r: [] for r in recipes}
        for turn in range(self.args.rounds + 1):
            for recipe in list(recipes) if turn % 2 else list(recipes)[::-1]:
                open_ones[recipe].run(shape["rows"])  # its weights into the caches, whoever ran before
                took = open_ones[recipe].run(shape["rows"])
                if turn:
                    times[recipe].append(took)
        kernels = open_ones[BASE].model.kernels
        for recipe, passes in open_ones.items():
            passes.close()
            self.results[model].row(recipe)["times"] = {
                "ms": statistics.median(times[recipe]), "ms_least": min(times[recipe]), "kernels": kernels,
                "over_base": statistics.median(a / b for a, b in zip(times[recipe], times[BASE])), "rounds": self.args.rounds,
                "threads": self.args.threads, "processor": processor()}
        self.results[model].save()

    def run(self):
        for model in self.args.models:
            trained, there = model in MODELS, []
            for recipe in self.args.recipes:
                if not (self.pte(model, recipe).exists() if "files" not in self.args.only else self.export(model, recipe)):
                    continue
                there.append(recipe)
                for part in self.args.only:
                    if part == "logits" or (trained and part in ("answers", "thresholds")):
                        self.say(f"{model}, {recipe}: {part}")
                        getattr(self, part)(model, recipe)
            if trained and "times" in self.args.only and there:
                self.say(f"{model}: times")
                self.times(model, there)


# Tables


def cell_right(found, base):
    """Right answers in percent, and p of McNemar's test behind it, but for float32 itself."""
    percent = f"{100 * found['right'] / found['questions']:.1f}"
    return percent if found is base else f"{percent} ({paired(base['wrong'], found['wrong'])['p']:.2f})"


def put_logits(logits):
    return [f"{max(logits['kl_mean'], 0):.2g}", f"{100 * logits['agreement']:.2f}"] if logits else ["", ""]


def table(head, rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def of_questions(row, model, bench):
    return row.get(f"on {bench.heldout(model).stem}", {})


def answers_table(bench, model):
    """A row for each recipe: logits, exact answers at one token a pass and at the same threshold, time of a pass."""
    rows, own = bench.results[model].recipes, str(MODELS[model]["thresholds"]["balanced"])
    base, lines = of_questions(rows.get(BASE, {}), model, bench), []
    for recipe in RECIPES:
        row = rows.get(recipe, {})
        if "refused" in row.get("file", {}):
            lines.append([f"`{recipe}`", "does not fit"] + [""] * 6)
        elif "file" in row:
            found, times = of_questions(row, model, bench), row.get("times")
            cells = [cell_right(found[key], base[key]) if key in found and key in base else "" for key in ("exact", own)]
            lines.append([f"`{recipe}`", f"{row['file']['bytes'] / 1e6:.2f}", *put_logits(row.get("logits")), *cells,
                          f"{found[own]['tokens_per_pass']:.2f}" if own in found else "",
                          f"{times['over_base']:.2f}" if times else ""])
    return table(["recipe", "MB", "KL", "same best, %", "exact, % (p)", f"at {own}, % (p)", "tokens a pass", "pass, float32 = 1"], lines)


def thresholds_table(bench, model):
    """A row for each recipe: its thresholds for both presets, and what they give on the held-out questions."""
    rows, lines, own = bench.results[model].recipes, [], MODELS[model]["thresholds"]
    base = of_questions(rows.get(BASE, {}), model, bench)
    for recipe in RECIPES:
        row = rows.get(recipe, {})
        if "tuned" not in row or "refused" in row.get("file", {}):
            continue
        cells = [f"`{recipe}`"]
        for preset in PRESETS:
            tuned, found = row["tuned"][preset], of_questions(row, model, bench)
            at = found.get(str(tuned["threshold"]))
            cells += [f"{tuned['threshold']:g}" + ("" if tuned["reached"] else " (not reached)"),
                      cell_right(at, base[str(own[preset])]) if at else "", f"{at['tokens_per_pass']:.2f}" if at else ""]
        lines.append(cells)
    head = ["recipe"]
    for preset in PRESETS:
        head += [f"`{preset}`: threshold", "% (p)", "tokens a pass"]
    return table(head, lines)


def tiny_table(bench):
    names = [name for name in TINY if bench.results[name].recipes]
    lines = []
    for recipe in RECIPES:
        cells = []
        for name in names:
            row = bench.results[name].recipes.get(recipe, {})
            kl, same = put_logits(row.get("logits"))
            size = f"{row['file']['bytes'] / 1e3:.0f}" if "bytes" in row.get("file", {}) else ""
            cells.append("does not fit" if "refused" in row.get("file", {}) else f"{size}, {kl}, {same}" if kl else size)
        if any(cells):
            lines.append([f"`{recipe}`", *cells])
    return table(["recipe", *names], lines) if names else ""


def machine_line(bench, model):
    times = bench.results[model].recipes.get(BASE, {}).get("times")
    if not times:
        return ""
    shape = MODELS[model]
    behind = f" behind {shape['context']}" if shape["context"] else ""
    return (f"A pass has {shape['rows']} rows{behind}; float32 takes {times['ms']:.2f} ms ({times['processor']}, kernels "
            f"{times['kernels']}, threads: {times['threads']}, {times['rounds']} rounds).")


def page(bench):
    """Markdown of everything that the results hold."""
    parts = []
    for model in MODELS:
        rows = bench.results[model].recipes
        base = of_questions(rows.get(BASE, {}), model, bench).get("exact")
        if not rows:
            continue
        count = f", {base['questions']} held-out questions" if base else ""
        parts += [f"**`demo/{model}`**{count}", answers_table(bench, model), machine_line(bench, model),
                  "Thresholds of its own for each recipe:", thresholds_table(bench, model)]
    if any(bench.results[name].recipes for name in TINY):
        parts += ["**Random checkpoints** of `tests/data/checkpoints`: kB, KL, same best token in %", tiny_table(bench)]
    return "\n\n".join(part for part in parts if part)


def words_of(known, what):
    def names(text):
        found = text.split(",") if what != "recipes" else [name.strip() for name in text.split(";")]
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {'; '.join(known)}")
        return found
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    models = [*MODELS, *TINY]
    parser.add_argument("--models", type=words_of(models, "models"), default=models, help=", ".join(models))
    parser.add_argument("--recipes", type=words_of(RECIPES, "recipes"), default=list(RECIPES),
                        help="names of RECIPES, with ';' between them; float32 is always among them")
    parser.add_argument("--only", type=words_of(PARTS, "parts"), default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--count", type=positive, default=0, help="only so many held-out questions")
    parser.add_argument("--tuning", type=positive, default=1000, help="questions to choose thresholds on")
    parser.add_argument("--samples", type=positive, default=200, help="masked samples for the logits")
    parser.add_argument("--rounds", type=positive, default=101)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "quality")
    parser.add_argument("--program", default=DEFAULT_PROGRAM)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="all results in place of tables")
    output.add_argument("--write", action="store_true", help="put the tables into docs/QUANTIZATION.md")
    args = parser.parse_args()
    args.recipes = [BASE] + [name for name in RECIPES if name in args.recipes and name != BASE]
    bench = Bench(args)
    bench.run()
    if args.json:
        print(json.dumps({model: results.recipes for model, results in bench.results.items() if results.recipes}))
    elif args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{page(bench)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    else:
        print(page(bench))


if __name__ == "__main__":
    main()
