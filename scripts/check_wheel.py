"""check_wheel.py CHECKPOINT PROGRAM [EMULATOR...]: does the installed package work with nothing beside it? Run it with the
Python of an empty environment, outside the source tree (scripts/wheels.sh). EMULATOR is what programs of another kind of
machine are started with; the program is then the one inside the package."""
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile

import diffulex_edge
from diffulex_edge import _native
from diffulex_edge.__main__ import find_program


def main(checkpoint, program, *emulator):
    assert _native.library().path.startswith(sys.prefix), _native.library().path
    assert diffulex_edge.library_version() == diffulex_edge.__version__ == importlib.metadata.version("diffulex-edge")
    try:
        import numpy  # noqa: F401
        raise SystemExit("the environment is not empty: it has numpy")
    except ImportError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DIFFULEX_EDGE_CACHE"] = folder
        with diffulex_edge.Model.from_pretrained(checkpoint, max_seq_len=64) as model:
            prompt = model.prompt_ids("count to three", chat=False)
            completion = model.generate(prompt, max_new_tokens=8)
            line = ",".join(map(str, prompt))
            for command in ([program],) if emulator else ([program], [str(find_program())]):
                done = subprocess.run([*emulator, *command, "generate", "--pte-path", model.path, "--token-ids", line, "--json",
                                       "--max-new-tokens", "8"], capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                assert str(completion.ids)[1:-1].replace(" ", "") in done.stdout.replace(" ", ""), done.stdout
    about = importlib.metadata.metadata("diffulex-edge")
    for name in ("Summary", "License-Expression", "Requires-Python", "Description-Content-Type", "Keywords"):
        assert about[name], f"the metadata have no {name}"
    print(f"{sys.version.split()[0]} on {platform.machine()}: exports, decodes and runs the program, without anything beside it")


if __name__ == "__main__":
    main(*sys.argv[1:])
