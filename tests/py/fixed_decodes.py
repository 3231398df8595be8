"""Recorded decodes through the official runtime, as a process of its own whose loader finds what its backend needs.

fixed_decodes.py JOBS.json: JOBS is [[NAME, PROGRAM.pte, TRACES], ...]. Prints the version of the runtime, as "runtime VERSION", and
for each trace a line "decode [NAME, OUTPUT_IDS, PASSES, STEPS]", as JSON; a step is a list of the [POSITION, ID, CONFIDENCE] that
it accepted. One process, because importing the runtime takes as long as many decodes.
"""
import importlib
import json
import sys

from diffulex_edge.runtime.executorch import ExecuTorchModel


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    print("runtime", importlib.import_module("executorch.version").__version__)
    for name, program, traces in jobs:
        with ExecuTorchModel(program) as model:    # closed before the next: the emulator runs few delegates at a time
            session = model.session()
            for trace in traces:
                got = session.generate(trace["prompt_ids"], options={"algorithm": trace["algorithm"], **trace["options"]})
                steps = [[[a.position, a.id, round(a.confidence, 6)] for a in step.accepted] for step in got.steps]
                # On a line of its own: libraries leave theirs open.
                print("\ndecode", json.dumps([name, got.output_ids, got.num_forwards, steps]), flush=True)
                session.truncate(0)


if __name__ == "__main__":
    main()
