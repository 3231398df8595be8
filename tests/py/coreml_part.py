"""What the CoreML backend makes of a graph, taken apart by ExecuTorch's own parser of payloads and run by coremltools."""
import json
import os
import subprocess
from pathlib import Path

import numpy as np

from mil_program import MilProgram
from oracles import oracle

TYPES = {"f32": np.float32, "f16": np.float16}


def tool():
    return Path(os.environ["DLX_BUILD_DIR"]) / "tests" / "make_coreml_part"


def unflatten(payload, folder):
    """The files of a payload, by the runtime's own code; the folder that holds metadata.json."""
    parser = oracle("executorch.backends.apple.coreml.executorchcoreml", "CoreML payloads are")
    folder.mkdir(parents=True)
    assert parser.unflatten_directory_contents(payload, str(folder))
    return folder / "lowered_module"


class CoremlPart:
    """A part that make_coreml_part wrote."""

    def __init__(self, folder, *args):
        self.folder = Path(folder)
        done = subprocess.run([str(tool()), str(folder), *map(str, args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.about = json.loads((self.folder / "part.json").read_text())
        self.files = unflatten((self.folder / "payload.bin").read_bytes(), self.folder / "unflattened")
        self.metadata = json.loads((self.files / "metadata.json").read_text())
        self.program = MilProgram(self.files / "model.mlpackage")
        self.tables = {c["name"]: np.fromfile(self.folder / f"constant_{c['value']}.bin", TYPES[c["type"]]).reshape(c["dim"])
                       for c in self.about["constants"]}

    def __call__(self, *arrays):
        """Arguments and results as the delegate call has them."""
        names = self.metadata["inputNames"]
        assert len(arrays) == len(names)
        out = self.program(dict(zip(names, arrays)))
        return [out[name] for name in self.metadata["outputNames"]]

    def with_gathers(self, given):
        """The same from the graph's own inputs by name, rows that are gathered in front of the delegate included."""
        gathered = {g["value"]: self.tables[g["table"]][given[g["by"]]] for g in self.about["gathers"]}
        return self(*[gathered[i["value"]] if i["value"] in gathered else given[i["name"]] for i in self.about["inputs"]])
