"""tools/mutate.py: finds the places of a known file and no others; woven code is the old code until a switch is set; a whole
campaign over a small tree tells apart what its tests notice and what they do not."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import mutate  # noqa: E402
from mutation import campaign  # noqa: E402
from mutation.c_code import Code  # noqa: E402
from mutation.sites import Finder, enum_families, sample  # noqa: E402
from mutation.weave import HEADER, Workshop, room_of, woven  # noqa: E402

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(not CC, reason="no C compiler")


def sites_of(text, name="src/base/a.c"):
    finder = Finder({name: text})
    found = finder.sites(name, "base")
    assert not finder.unread
    return found


def changes(text):
    return [s.what for s in sites_of(text)]


@pytest.mark.parametrize("body, expected", [
    ("return a < b;", ["a < b -> a <= b"]),
    ("return a - b - c;", ["a - b -> a + b", "a - b - c -> a - b + c"]),
    ("return a + b * c;", ["b * c -> b / c", "a + b * c -> a - b * c"]),
    ("return a && (b || c);", ["b || c -> b && c", "a && (b || c) -> a || (b || c)"]),
    ("return (int)a * -b;", ["-b -> b", "(int)a * -b -> (int)a / -b"]),
    ("return !a;", ["!a -> a"]),
    ("return a[7];", ["7 -> 6", "7 -> 8"]),
    ("return 0u;", ["0u -> 1u"]),
    ("return true;", ["true -> false"]),
    ("a += b;", ["a += b -> a -= b", "a += b; -> (nothing)"]),
    ("a = b;", ["a = b; -> (nothing)"]),
    ("f(a);", ["f(a); -> (nothing)"]),
    ("i++;", ["i++ -> i--", "i++; -> (nothing)"]),
    ("if (a) b = c;", ["a -> !(a)", "a -> never", "b = c; -> (nothing)"]),
    ("if (a) b = c; else d = c;", ["a -> !(a)", "b = c; -> (nothing)", "d = c; -> (nothing)"]),
    ("while (a) break;", ["break; -> continue;"]),
    ("return a ? b : c;", ["a -> !(a)"]),
    ("int max = 3, min = max; return min;", ["3 -> 2", "3 -> 4", "max -> min", "min -> max"]),
    ("T *p = (T *)q; return p & q;", ["p & q -> p | q"]),
    ("S s = {.x = 1, .y = a / b};", ["1 -> 0", "1 -> 2", "a / b -> a * b"]),
    ("UNROLL for (;;) f(a == b);", ["a == b -> a != b", "f(a == b); -> (nothing)"]),
    ("LOOP(float, const char *, a | b);", ["a | b -> a & b", "LOOP(float, const char *, a | b); -> (nothing)"]),
    ("a = b /* a < b */ ^ c; // a > b", ["b ^ c -> b | c", "a = b /* a < b */ ^ c; -> (nothing)".replace("/* a < b */ ", "")]),
])
def test_places_of_a_statement(body, expected):
    assert sorted(changes(f"typedef int T;\nint f(int a)\n{{\n    {body}\n}}\n")) == sorted(expected)


def test_what_is_no_code_is_left_alone():
    text = """
#include <stdio.h>
#define LESS(a, b) ((a) < (b) ? 1 : 2)
#if 3 > 2 && \\
    4 > 3
#endif
/* if (a < b) return 1; */
enum { ONE = 1, TWO = ONE + 1 };
_Static_assert(TWO == 2, "a < b");
struct s { int bits : 3; int array[4 + 4]; };
static const int table[2] = {1 + 1, 2 * 2};
int f(int a);
int g(int a)
{
    static const int inside[] = {5, 6 + 7};
    char buffer[16 * 2];
    const char *text = "a < b && c" "d" ;
    _Static_assert(sizeof(int) == 4, "");
#ifdef LESS
    // return a < 9;
#endif
    switch (a) {
    case 3 + 4: return sizeof(buffer) + sizeof inside[8];
    case TWO: return 'x';
    default: break;
    }
    return text[a];
}
"""
    assert sorted(changes(text)) == sorted(["break; -> continue;", "sizeof(buffer) + sizeof inside[8] -> "
                                            "sizeof(buffer) - sizeof inside[8]"])


def test_words_of_errors_are_left_alone_but_the_status_counts():
    text = """enum { DLX_E_ONE, DLX_E_TWO };
int f(int a)
{
    return dlx_fail(err, DLX_E_ONE, "%d of %d", a + 1, a < 2);
}
"""
    assert changes(text) == ["DLX_E_ONE -> DLX_E_TWO"]


def test_what_is_written_to_is_no_value():
    text = "int f(struct s *s, int min, int max)\n{\n    s->begin = s->end;\n    max = min;\n    g(&s->end, &max);\n    max++;\n}\n"
    assert [w for w in changes(text) if "nothing" not in w and "++" not in w] == ["s->end -> s->begin", "min -> max"]


def test_neighbours_in_enums():
    families = enum_families(["""enum kind { A_ONE, /* B, */ A_TWO = 4, A_COUNT };
#define WORDS(X) \\
    X(red, 1)    \\
    X(blue, 2)
enum words {
#define WORD_NAME(name, n) WORD_##name,
    WORDS(WORD_NAME)
#undef WORD_NAME
};
"""])
    assert families == {"A_ONE": "A_TWO", "A_TWO": "A_ONE", "WORD_red": "WORD_blue", "WORD_blue": "WORD_red"}


def test_a_statement_that_is_not_understood_costs_only_itself():
    code = Code("int f(int a)\n{\n    __asm__ volatile (\"nop\" : : \"r\"(a));\n    return a < 1;\n}\n")
    assert len(code.unread) == 1
    assert [p.kind for p in code.functions[0].parts] == ["name", "number", "binary"]


def test_every_function_of_the_tree_is_read():
    shop = Workshop(ROOT, ROOT / "build" / "mutation")
    sites, unread = shop.all_sites()
    assert len(unread) * 100 < len(sites)  # function-like macros inside bodies, and assembler
    assert len(sites) > 10000
    assert {"base", "format", "format/json", "graph", "kernels", "runtime", "engine", "diffusion", "text", "text/full",
            "quant", "model", "backends", "export", "api", "cli", "cli/full"} <= {s.room for s in sites}
    chosen = sample(sites, 300, 10, 1)
    assert len(chosen) >= 200


def test_a_choice_is_the_same_again_and_little_moved_by_a_change():
    text = "".join(f"int f{i}(int a, int b)\n{{\n    return a < b + {i};\n}}\n\n" for i in range(40))
    first = sample(sites_of(text), 20, 5, seed=1)
    assert [s.key for s in first] == [s.key for s in sample(sites_of(text), 20, 5, seed=1)]
    assert [s.key for s in first] != [s.key for s in sample(sites_of(text), 20, 5, seed=2)]
    moved = sample(sites_of("int g(int a)\n{\n    return a * a;\n}\n\n" + text), 20, 5, seed=1)
    assert len({s.key for s in first} & {s.key for s in moved}) >= 19
    lines = [(s.file, s.line) for s in first]
    assert len(lines) == len(set(lines)) == 20


PROGRAM = """#include <stdio.h>
#include <string.h>

typedef struct span {
    int begin, end;
} span;

enum color { RED, GREEN, BLUE };

static int length(span s)
{
    if (s.end < s.begin) return 0;
    return s.end - s.begin;
}

static int sum(const int *x, int n)
{
    int total = 0;
    for (int i = 0; i < n; i++) {
        if (x[i] == 7) continue;
        if (x[i] > 90 || !x[i])
            break;
        else
            total += x[i];
    }
    return total;
}

static int bits(int *z, int a)
{
    memset(z, 0, sizeof *z);
    z[1] = GREEN;
    return z[0] | z[1] << a | 4;
}

int main(void)
{
    int x[6] = {4, 7, 1, 95, 2, 0}, y[4] = {1, 2, 4, 0}, z[4] = {90, 5, 91, 1}, dirty[2] = {5, 6};
    printf("%d %d %d %d %d %d %d %d", length((span){3, 8}), length((span){8, 3}), length((span){4, 4}), sum(x, 6), sum(y, 2),
           sum(y, 4), sum(z, 4), bits(dirty, 1));
    return 0;
}
"""


def compile_woven(folder, text, *flags):
    (folder / "dlx_mutant.h").write_text(HEADER)
    (folder / "a.c").write_text(text)
    program = folder / f"program{len(flags)}"
    subprocess.run([CC, "-std=c11", "-w", "-include", folder / "dlx_mutant.h", *flags, folder / "a.c", "-o", program], check=True)
    return program


def run_program(program, **variables):
    try:
        done = subprocess.run([program], capture_output=True, text=True, timeout=5, env={**os.environ, **variables})
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        return "time-out"


@needs_compiler
def test_woven_code_is_the_old_code_until_a_switch_is_set(tmp_path):
    sites = sites_of(PROGRAM)
    assert len(sites) > 50
    numbered = list(enumerate(sites, 1))
    text = woven(PROGRAM, numbered)
    assert text.count("\n") == PROGRAM.count("\n")  # no line moved
    plain = run_program(compile_woven(tmp_path, PROGRAM))
    assert plain == (0, "5 0 0 5 3 7 95 6")
    program = compile_woven(tmp_path, text)
    assert run_program(program) == run_program(program, DLX_MUTANT="0") == plain
    assert run_program(program, DLX_MUTANT="999") == plain
    same = [s.what for n, s in numbered if s.function != "main" and run_program(program, DLX_MUTANT=str(n)) == plain]
    assert same == ["s.end < s.begin -> s.end <= s.begin"]  # the only one that makes no difference


@needs_compiler
def test_the_trace_build_notes_what_is_reached(tmp_path):
    text = "int never(int a)\n{\n    return a + 1;\n}\n\nint main(int argc, char **argv)\n{\n    if (argc > 1) return argv[1][0] - 5;\n    return 0;\n}\n"
    sites = sites_of(text)
    program = compile_woven(tmp_path, woven(text, list(enumerate(sites, 1))), "-DDLX_MUTANT_TRACE=1000")
    reach = tmp_path / "reach"
    reach.write_bytes(bytes(1000))
    assert run_program(program, DLX_MUTANT_FILE=str(reach), DLX_MUTANT="1") == (0, "")
    reached = {sites[n - 1].what for n, byte in enumerate(reach.read_bytes()) if byte}
    assert {"argc > 1 -> argc >= 1", "0 -> 1"} <= reached
    assert not any("a + 1" in what or "- 5" in what for what in reached)


def test_what_a_test_leaves_running_is_ended():
    """Also in a session of its own, where no signal to the test's group arrives."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True,
                            env={**os.environ, "DLX_MUTATION_RUN": "marked"})
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True,
                             env={**os.environ, "DLX_MUTATION_RUN": "marked-as-well"})
    try:
        while b"time.sleep" not in Path(f"/proc/{left.pid}/cmdline").read_bytes():
            pass  # it has not been started yet
        campaign.kill_marked(b"DLX_MUTATION_RUN=marked")
        assert left.wait(timeout=60) == -9 and other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def test_rooms():
    assert room_of("src/text/full/bpe.c") == "text/full"
    assert room_of("src/backends/xnnpack/emit.c") == "backends"
    assert room_of("cli/main.c") == "cli"
    assert room_of("cli/full/chat.c") == "cli/full"


TREE = {
    "CMakeLists.txt": """cmake_minimum_required(VERSION 3.21)
project(small C)
enable_testing()
foreach(t clamp idle)
  add_executable(test_${t} src/base/clamp.c tests/test_${t}.c)
  target_include_directories(test_${t} PRIVATE src)
  add_test(NAME test_${t} COMMAND test_${t})
endforeach()
""",
    "src/base/clamp.h": "int clamp(int x);\nint unused(int x);\n",
    "src/base/clamp.c": """#include "base/clamp.h"

int clamp(int x)
{
    int least = -1, most;
    most = 10;
    if (x < least) {
        x = least;
    }
    return x > most ? most : x;
}

int unused(int x)
{
    return x * 3;
}

#if 0
int left_out(int x)
{
    return x / 5;
}
#endif
""",
    "tests/test_clamp.c": '#include "base/clamp.h"\nint main(void)\n{\n    return clamp(5) != 5 || clamp(-7) != -1 || clamp(12) != 10;\n}\n',
    "tests/test_idle.c": "int main(void)\n{\n    return 0;\n}\n",
}


@pytest.fixture
def small_tree(tmp_path):
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / ".gitignore").write_text("build/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


@needs_compiler
@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("ninja")), reason="no cmake or no ninja")
def test_a_campaign(small_tree, capsys):
    def run(*args):
        assert mutate.main([*args, "--root", str(small_tree), "--no-pytest", "--count", "10"]) == 0
        return capsys.readouterr().out

    listed = run("list")
    assert "src/base/clamp.c:" in listed
    out = run("run")
    assert "left_out" not in out and "x / 5" not in out  # not compiled on this machine
    killed, alive = re.search(r"\n(\d+) of (\d+) mutants killed", out).groups()
    assert 0 < int(killed) < int(alive)
    assert re.search(r"clamp\.c:\d+ .*killed by test_clamp \(exit 1\)", out)
    assert "killed by test_idle" not in out
    assert re.search(r"clamp\.c:15 \(unused, reached by no test\)", out)
    # Nothing is left to run, and the table is the same.
    again = run("run")
    assert "killed by" not in again.split("| room |")[0] and "SURVIVED" not in again
    assert again.split("| room |")[1] == out.split("| room |")[1] == run("report").split("| room |")[1]
    # What is listed as equivalent is told apart.
    survivor = re.search(r"clamp\.c:15 \(unused.*\n +(.*)", out).group(1)
    tools = small_tree / "tools"
    tools.mkdir()
    (tools / "mutants_equivalent.txt").write_text(f"src/base/clamp.c | {survivor} | nobody calls it\n")
    told = run("report")
    assert "1 equivalent" in told and "nobody calls it" in told
    # A better test kills what lived; what was killed stays so without being run.
    test = small_tree / "tests" / "test_clamp.c"
    test.write_text(test.read_text().replace("return ", "return unused(2) != 6 || "))
    better = run("run")
    assert re.search(r"clamp\.c:15 .*killed by test_clamp", better)
    assert "warning: listed as equivalent" in better
    assert int(re.search(r"\[(?:\d+)/(\d+)\]", better).group(1)) == int(alive) - int(killed)
