"""tools/check_layers.py finds each kind of violation in a small tree, and nothing in a clean one."""
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layers = load("check_layers")

CLEAN = {
    "include/diffulex_edge/status.h": "#include <stddef.h>\n",
    "include/diffulex_edge/decode.h": '#include "diffulex_edge/status.h"\n',
    "include/diffulex_edge/model.h": '#include "diffulex_edge/decode.h"\n',
    "src/base/status.h": '#include "diffulex_edge/status.h"\n',
    "src/base/io.h": '#include "base/status.h"\n#include <sys/stat.h>\n',
    "src/format/pte.h": '#include "base/io.h"\n',
    "src/format/json/json.h": '#include "base/status.h"\n#include <jansson.h>\n',
    "src/graph/graph.h": '#include "format/pte.h"\n',
    "src/kernels/kernels.h": '#include "base/status.h"\n#include <immintrin.h>\n',
    "src/runtime/program.c": '#include "graph/graph.h"\n#include "kernels/kernels.h"\n',
    "src/diffusion/generate.c": '#include "base/status.h"\n#include "diffulex_edge/decode.h"\n#include <math.h>\n',
    "src/model/checkpoint.h": '#include "graph/graph.h"\n#include "format/json/json.h"\n',
    "src/export/export.c": '#include "model/checkpoint.h"\n',
    "cli/options.h": "\n",
    "cli/serve.c": '#include "server.h"\n',
    "server/server.h": '#include "diffulex_edge/status.h"\n',
    "server/http.h": '#include "server.h"\n#include <microhttpd.h>\n',
    "cli/main.c": '#include "options.h"\n#include "diffulex_edge/model.h"\n#include <stdio.h>\n',
}


@pytest.fixture
def tree(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return tmp_path
    for name, text in CLEAN.items():
        write(name, text)
    write("docs/ARCHITECTURE.md", f"# Map\n{layers.BEGIN}\n{layers.END}\nEnd.\n")
    assert layers.main(["--root", str(tmp_path), "--write"]) == 0
    return write


def test_the_table_keeps_its_own_rules():
    assert layers.check_table() == []


def test_a_clean_tree_passes(tree, capsys):
    root = tree("src/base/empty.c", "")
    assert layers.main(["--root", str(root)]) == 0
    assert "every include follows" in capsys.readouterr().out


@pytest.mark.parametrize("name, line, words", [
    ("src/kernels/bad.c", '#include "graph/graph.h"', "the arrow kernels -> graph is not in the table"),
    ("src/base/bad.c", '#include "format/pte.h"', "the arrow base -> format is not in the table"),
    ("src/model/bad.c", '#include "kernels/kernels.h"', "the arrow model -> kernels is not in the table"),
    ("src/runtime/bad.c", '#include "model/checkpoint.h"', "the arrow runtime -> model is not in the table"),
    ("src/runtime/bad.c", "#include <jansson.h>", "runtime/ may not include <jansson.h>"),
    ("src/runtime/bad.c", '#include "diffulex_edge/model.h"', "may not include the public header"),
    ("src/diffusion/bad.c", '#include "base/io.h"', "diffusion/ must not know base/io.h"),
    ("src/diffusion/bad.c", '#include "graph/graph.h"', "the arrow diffusion -> graph is not in the table"),
    ("src/diffusion/bad.c", "#include <pthread.h>", "diffusion/ must not know pthread.h"),
    ("src/graph/bad.c", '#include "nowhere.h"', "does not exist below src/"),
    ("src/graph/bad.c", '#include "../base/io.h"', 'write the path below src/: "base/io.h"'),
    ("src/kernels/bad.c", '#include "tables.h"', "does not exist below src/"),
    ("src/newroom/bad.c", "", "lies in no room of the table"),
    ("cli/bad.c", '#include "base/io.h"', "cli/ sees include/diffulex_edge"),
    ("cli/bad.c", '#include "http.h"', "cli/ sees include/diffulex_edge"),
    ("server/bad.c", '#include "options.h"', "server/ sees include/diffulex_edge"),
    ("server/bad.c", '#include "base/io.h"', "server/ sees include/diffulex_edge"),
    ("cli/bad.c", "#include <graph/graph.h>", "cli/ sees include/diffulex_edge"),
    ("include/diffulex_edge/bad.h", '#include "base/io.h"', "a public header may not include"),
])
def test_a_violation_is_named(tree, capsys, name, line, words):
    root = tree(name, f"/* first */\n{line}\n")
    assert layers.main(["--root", str(root)]) == 1
    output = capsys.readouterr().out
    assert words in output
    assert name in output
    assert len(output.splitlines()) == 1


def test_the_path_below_src_is_suggested(tree, capsys):
    tree("src/graph/near.h", "")
    root = tree("src/graph/bad.c", '#include "near.h"\n')
    assert layers.main(["--root", str(root)]) == 1
    assert 'write the path below src/: "graph/near.h"' in capsys.readouterr().out


@pytest.mark.parametrize("guard, code", [
    ("#ifndef DLX_RUNTIME_ONLY\n{}\n#endif\n", 0),
    ("#if !defined(DLX_RUNTIME_ONLY)\n{}\n#endif\n", 0),
    ("{}\n", 1),
    ("#ifdef DLX_RUNTIME_ONLY\n{}\n#endif\n", 1),
    ("#ifndef DLX_RUNTIME_ONLY\n#else\n{}\n#endif\n", 1),
    ("#ifndef DLX_RUNTIME_ONLY\n#endif\n{}\n", 1),
])
def test_what_a_runtime_only_build_lacks_needs_a_guard(tree, capsys, guard, code):
    tree("src/text/full/files.h", "")
    root = tree("src/api/open.c", guard.format('#include "text/full/files.h"'))
    assert layers.main(["--root", str(root)]) == code
    if code:
        assert "put the line under #ifndef DLX_RUNTIME_ONLY" in capsys.readouterr().out


def test_an_upward_or_crossing_arrow_in_the_table_is_found(monkeypatch):
    rooms = dict(layers.ROOMS)
    rooms["base"] = rooms["base"]._replace(may=("graph",))
    rooms["model"] = rooms["model"]._replace(may=("kernels", "attic"))
    monkeypatch.setattr(layers, "ROOMS", rooms)
    text = "\n".join(layers.check_table())
    assert "base -> graph points upwards" in text
    assert "model -> kernels joins the export half and the run half" in text
    assert "model may include attic, which is no room" in text


def test_a_picture_that_differs_from_the_table_fails_until_it_is_written(tree, capsys):
    root = tree("src/base/empty.c", "")
    document = root / "docs" / "ARCHITECTURE.md"
    fresh = document.read_text(encoding="utf-8")
    for name in layers.ROOMS:
        assert f"{name}/" in fresh
    assert fresh.endswith("End.\n")
    document.write_text(fresh.replace("kernels/", "kernals/"), encoding="utf-8")
    assert layers.main(["--root", str(root)]) == 1
    assert "run tools/check_layers.py --write" in capsys.readouterr().out
    assert layers.main(["--root", str(root), "--write"]) == 0
    assert document.read_text(encoding="utf-8") == fresh
    document.write_text("# Map without markers\n", encoding="utf-8")
    assert layers.main(["--root", str(root), "--write"]) == 1
