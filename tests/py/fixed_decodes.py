"""Recorded decodes through the official runtime, as a process of its own whose loader finds what its backend needs.

fixed_decodes.py PROGRAM.pte TRACES.json: prints for each trace a line "decode [OUTPUT_IDS, PASSES, STEPS]", as JSON; a step
is a list of the [POSITION, ID, CONFIDENCE] that it accepted.
"""
import json
import sys

from diffulex_edge.runtime.executorch import ExecuTorchModel


def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        traces = json.load(file)
    with ExecuTorchModel(sys.argv[1]) as model:
        session = model.session()
        for trace in traces:
            got = session.generate(trace["prompt_ids"], options={"algorithm": trace["algorithm"], **trace["options"]})
            steps = [[[a.position, a.id, round(a.confidence, 6)] for a in step.accepted] for step in got.steps]
            # On a line of its own: libraries leave theirs open.
            print("\ndecode", json.dumps([got.output_ids, got.num_forwards, steps]), flush=True)
            session.truncate(0)


if __name__ == "__main__":
    main()
