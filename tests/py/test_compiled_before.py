"""The launcher by which builds take objects of the release build: which it takes, and which it compiles."""
import os
import subprocess

import pytest

from program import ROOT

LAUNCHER = ROOT / "tests" / "py" / "compiled_before.sh"
OBJECT = "src/CMakeFiles/dlx_base.dir/base/a.c.o"


@pytest.fixture
def tree(tmp_path):
    """A tree, the object that its build has, and where the other build is made."""
    for folder in ("tree/src/base", f"before/{os.path.dirname(OBJECT)}", f"now/{os.path.dirname(OBJECT)}"):
        (tmp_path / folder).mkdir(parents=True)
    source, header = tmp_path / "tree/src/base/a.c", tmp_path / "tree/src/base/a.h"
    source.write_text('#include "a.h"\nint a;\n')
    header.write_text("#include <stddef.h>\n")
    (tmp_path / "before" / OBJECT).write_text("compiled before")
    for path, when in ((source, 100), (header, 100), (tmp_path / "before" / OBJECT, 200)):
        os.utime(path, (when, when))
    return tmp_path


def taken(folder, source=None):
    """Whether the object was taken; it is there in any case, and so is the rule where the tree itself is compiled."""
    source = source or folder / "tree/src/base/a.c"
    subprocess.run(["bash", LAUNCHER, folder / "tree", folder / "before", "cc", "-DDLX_RUNTIME_ONLY=1", "-MD", "-MT", OBJECT, "-MF",
                    f"{OBJECT}.d", "-o", OBJECT, "-c", source], cwd=folder / "now", check=True)
    if source.is_relative_to(folder / "tree"):
        rule = (folder / "now" / f"{OBJECT}.d").read_text()
        assert rule.startswith(f"{OBJECT}:") and all(f"/tree/src/base/{name}" in rule for name in ("a.c", "a.h"))
    return (folder / "now" / OBJECT).read_bytes() == b"compiled before"


def test_an_object_of_the_same_source_is_taken(tree):
    assert taken(tree)


@pytest.mark.parametrize("name", ["a.c", "a.h"])
def test_what_asks_for_the_run_half_is_compiled(tree, name):
    path = tree / "tree/src/base" / name
    path.write_text(path.read_text() + "#ifdef DLX_RUNTIME_ONLY\nint b;\n#endif\n")
    os.utime(path, (100, 100))
    assert not taken(tree)


@pytest.mark.parametrize("name", ["a.c", "a.h"])
def test_what_changed_since_is_compiled(tree, name):
    os.utime(tree / "tree/src/base" / name, (300, 300))
    assert not taken(tree)


def test_what_the_other_build_lacks_is_compiled(tree):
    (tree / "before" / OBJECT).unlink()
    assert not taken(tree)


def test_a_copy_of_the_tree_takes_what_is_the_same(tree):
    copy = tree / "copy.c"
    copy.write_text((tree / "tree/src/base/a.c").read_text())
    assert taken(tree, copy)
    (tree / "a.h").write_text("")
    copy.write_text(copy.read_text() + "int b;\n")
    assert not taken(tree, copy)


def test_what_does_not_compile_fails(tree):
    (tree / "tree/src/base/a.h").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        taken(tree)
