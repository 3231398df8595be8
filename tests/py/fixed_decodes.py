"""Recorded decodes through the official runtime, as a process of its own whose loader finds what its backend needs.

fixed_decodes.py PROGRAM.pte TRACES.json: prints a JSON list, for each trace its output ids and the number of passes.
"""
import json
import sys

from diffulex_edge.runtime.executorch import ExecuTorchModel


def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        traces = json.load(file)
    answers = []
    with ExecuTorchModel(sys.argv[1]) as model:
        session = model.session()
        for trace in traces:
            got = session.generate(trace["prompt_ids"], options={"algorithm": trace["algorithm"], **trace["options"]})
            answers.append([got.output_ids, got.num_forwards])
            session.truncate(0)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
