"""Recorded decodes through the official runtime, as a process of its own whose loader finds what its backend needs.

fixed_decodes.py PROGRAM.pte TRACES.json: prints for each trace a line "decode [OUTPUT_IDS, PASSES]", as JSON.
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
            print("\ndecode", json.dumps([got.output_ids, got.num_forwards]), flush=True)  # libraries leave lines open
            session.truncate(0)


if __name__ == "__main__":
    main()
