"""examples/executorch: the C adapter over the official runtime is built as its README says, against the wheel's headers, and
answers as the native runtime does."""
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from oracles import not_here, oracle, present
from program import ROOT, export, run

executorch = oracle("executorch", "the C adapter over the official runtime is")
present("torch", "the C adapter over the official runtime is")

PROMPTS = ("What is 347 + 285?", "Sort these words: shop, actor, ivy, velvet", "Convert 18.4 kg to g.", "Spell pear.")

# What generate.c does, in a process that has libpython anyway.
IN_PYTHON = """
import ctypes, sys
import torch
from executorch.extension.pybindings import _portable_lib
ctypes.CDLL(_portable_lib.__file__, ctypes.RTLD_GLOBAL)
from diffulex_edge import _native
from diffulex_edge.decode import _read_generation
from diffulex_edge.text import Tokenizer
adapter = ctypes.CDLL(sys.argv[1])
adapter.dlx_executorch_facts.restype = ctypes.POINTER(_native.ModelFacts)
adapter.dlx_executorch_session.restype = ctypes.c_void_p
library, error, model = _native.library(), _native.Error(), ctypes.c_void_p()
if adapter.dlx_executorch_open(ctypes.byref(model), sys.argv[2].encode(), ctypes.byref(error)):
    sys.exit(error.message.decode())
tokenizer = Tokenizer.from_pte(sys.argv[2])
facts = adapter.dlx_executorch_facts(model)
session = ctypes.c_void_p(adapter.dlx_executorch_session(model))
forward = ctypes.cast(library.dlx_fixed_forward, ctypes.c_void_p)
for prompt in sys.argv[3:]:
    ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}])
    out = ctypes.c_void_p()
    _native.call("dlx_generate", facts, forward, session, None, (ctypes.c_int32 * len(ids))(*ids), len(ids),
                 _native.STEP_FN(), None, ctypes.byref(out))
    print(tokenizer.decode(_read_generation(out, len(ids)).answer_ids))
    library.dlx_generation_free(out)
adapter.dlx_executorch_close(model)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder where it was built."""
    folder = tmp_path_factory.mktemp("example")
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    package = Path(list(executorch.__path__)[0])
    for command in (
        ["cmake", "--install", os.environ["DLX_BUILD_DIR"], "--prefix", folder / "installed"],
        ["cmake", "-S", ROOT / "examples" / "executorch", "-B", folder / "build",
         f"-DCMAKE_PREFIX_PATH={folder / 'installed'}", f"-Dexecutorch_DIR={package / 'share' / 'cmake'}",
         "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror",
         f"-DPython3_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", folder / "build"],
    ):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {kv: export(ROOT / "demo" / "dialog-sdar", folder / f"{kv}.pte", "int8-dynamic", "--kv", kv, *more)
            for kv, more in (("fixed", ("--max-rows", "16", "--method-rows", "4")), ("caller", ()))}


@pytest.fixture(scope="module")
def answers(files):
    return [run("generate", files["caller"], prompt).strip() for prompt in PROMPTS]


def test_the_adapter_answers_as_the_native_runtime(built, files, answers):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", IN_PYTHON, built / "libdlx_executorch.so", files["fixed"],
                           *PROMPTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == answers and answers[0] == "632"


def test_what_cannot_be_opened_is_said(built, files):
    for path, words in ((files["caller"], "was exported with --kv caller"), ("none.pte", "none.pte")):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", IN_PYTHON, built / "libdlx_executorch.so", path],
                              capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr


def test_the_program_answers(built, files, answers):
    program = built / "generate"
    if not program.exists():
        pytest.skip("there is no libpython to link a program with; the adapter itself is tested above")
    for prompt, answer in zip(PROMPTS, answers):
        done = subprocess.run([program, files["fixed"], prompt], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == answer
    done = subprocess.run([program, files["fixed"], PROMPTS[3], "3"], capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.strip()) < len(answers[3])
    assert subprocess.run([program], capture_output=True, text=True).returncode == 2
    done = subprocess.run([program, files["caller"], "x"], capture_output=True, text=True)
    assert done.returncode == 1 and "was exported with --kv caller" in done.stderr


# ---- the functions of the Android example ----------------------------------------------------------------------------

# As Kotlin compiles Native.kt and TextListener.
JAVA = {
    "TextListener": "package org.diffulex.edge; public interface TextListener { boolean onText(byte[] utf8); }",
    "Native": """package org.diffulex.edge;
class Native {
    static { System.loadLibrary("dlx_jni"); }
    static native long open(byte[] path);
    static native void close(long handle);
    static native void generate(long handle, byte[] prompt, int maxNewTokens, TextListener listener);
}""",
    "Main": """package org.diffulex.edge;
import static java.nio.charset.StandardCharsets.UTF_8;
public class Main {
    static int pieces, passes;
    public static void main(String[] args) {
        try {
            Native.open("none.pte".getBytes(UTF_8));
        } catch (Exception e) {
            System.out.println(e.getClass().getName() + ": " + e.getMessage());
        }
        long model = Native.open(args[0].getBytes(UTF_8));
        for (int i = 1; i < args.length; i++) {
            StringBuilder text = new StringBuilder();
            Native.generate(model, args[i].getBytes(UTF_8), 128, utf8 -> {
                if (utf8.length == 0) passes++; else pieces++;
                text.append(new String(utf8, UTF_8));
                return true;
            });
            System.out.println(text);
        }
        System.out.println(pieces >= 1 && passes >= 4);
        passes = 0;
        Native.generate(model, args[1].getBytes(UTF_8), 128, utf8 -> ++passes < 2);
        System.out.println(passes);
        try {
            Native.generate(model, args[1].getBytes(UTF_8), 128, utf8 -> { throw new RuntimeException("enough"); });
        } catch (RuntimeException e) {
            System.out.println(e.getMessage());
        }
        try {
            Native.generate(model, args[1].getBytes(UTF_8), 1 << 30, utf8 -> true);
        } catch (IllegalArgumentException e) {
            System.out.println("refused: " + !e.getMessage().isEmpty());
        }
        Native.close(model);
        Native.close(0);
    }
}""",
}


@pytest.fixture(scope="module")
def jni(built, tmp_path_factory):
    """The folder of the classes and of libdlx_jni.so."""
    compiler, home = shutil.which("javac"), None
    if compiler:
        home = Path(compiler).resolve().parent.parent
    if not compiler or not (home / "include" / "jni.h").exists():
        not_here("there is no JDK: the JNI functions of examples/android are NOT checked")
    python = sysconfig.get_config_var("LDLIBRARY") or ""
    if ".so" not in python:
        pytest.skip("there is no libpython, which the wheel's runtime needs in a JVM")
    folder = tmp_path_factory.mktemp("jni")
    for name, text in JAVA.items():
        (folder / f"{name}.java").write_text(text)
    library = next((built.parent / "installed").glob("lib*"))
    where = sysconfig.get_config_var("LIBDIR")
    for command in (
        [compiler, "-d", folder, *(folder / f"{name}.java" for name in JAVA)],
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{home / 'include'}",
         f"-I{home / 'include' / 'linux'}", f"-I{ROOT / 'include'}", f"-I{ROOT / 'examples' / 'executorch'}",
         "-o", folder / "libdlx_jni.so", ROOT / "examples/android/app/src/main/cpp/dlx_jni.c", "-Wl,--no-as-needed",
         f"-L{built}", "-ldlx_executorch", f"-L{library}", "-ldiffulex_edge", f"-L{where}", f"-l:{python}",
         f"-Wl,-rpath,{built}:{library}:{where}"],
    ):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_functions_of_the_android_example_answer(jni, files, answers):
    done = subprocess.run([shutil.which("java"), "-Xss8m", f"-Djava.library.path={jni}", "-cp", jni,
                           "org.diffulex.edge.Main", files["fixed"], *PROMPTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "IOException" in lines[0] and "none.pte" in lines[0]
    assert lines[1:] == [*answers, "true", "2", "enough", "refused: true"]


@pytest.mark.parametrize("language", ("c", "c++"))
def test_the_header_of_the_ios_example_is_c_and_cpp(language):
    done = subprocess.run(["cc", "-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'include'}",
                           f"-I{ROOT / 'examples' / 'executorch'}",
                           ROOT / "examples/ios/DiffulexChat/Bridging-Header.h"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
