"""Handles of native objects: an exception at any instruction, as a signal raises one, closes each exactly once."""
import gc
import itertools
import sys
from ctypes import c_void_p

import pytest

from diffulex_edge import handles


class Objects:
    """Native objects, as numbers, for Handle: which were opened, and closed in which order."""

    def __init__(self):
        self.opened = []
        self.pointers = []

    def open(self, name):
        def opens(out):
            out._obj.value = 100 + len(self.opened)
            self.opened.append(name)
        return opens

    @property
    def closed(self):
        return [self.opened[p.value - 100] for p in self.pointers if p.value]

    def handle(self, name, *parents):
        return handles.Handle(name, self.open(name), self.pointers.append, *parents)


def lives(objects):
    """Opens, uses, closes, retires and drops."""
    parent = objects.handle("parent")
    child = objects.handle("child", parent)
    turn = handles.Turn("taken")
    with handles.Borrow(lambda _, pointer: pointer, turn.take(), child.use()) as pointer:
        assert isinstance(pointer, c_void_p)
        assert child.freed is False
    child.close()
    other = objects.handle("other", parent)
    parent.retire()
    assert not parent.freed
    del other
    assert parent.freed


class Interrupt(BaseException):
    pass


def interrupted_at(n, function):
    """Runs it; Interrupt is raised at the n-th instruction of the package. Whether there were so many."""
    count = itertools.count()

    def trace(frame, event, _):
        if frame.f_code.co_filename != handles.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(count) == n:
            raise Interrupt
        return trace
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_exception_at_any_instruction_closes_each_object_once(monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    for n in itertools.count():
        objects = Objects()
        more = interrupted_at(n, lambda: lives(objects))
        assert sorted(objects.closed) == sorted(objects.opened), n
        if "parent" in objects.closed:
            assert objects.closed[-1] == "parent", n
        if not more:
            break
    assert n > 300 and not dropped


def test_what_was_interrupted_can_be_used_again():
    for n in itertools.count():
        objects = Objects()
        handle, turn = objects.handle("one"), handles.Turn("taken")

        def borrows():
            with handles.Borrow(lambda _, pointer: pointer, turn.take(), handle.use()):
                pass
        more = interrupted_at(n, borrows)
        borrows()
        handle.close()
        assert objects.closed == ["one"]
        if not more:
            break
    assert n > 100


def test_a_turn_is_for_one_at_a_time():
    turn = handles.Turn("somebody has it")
    with turn.take():
        with pytest.raises(RuntimeError, match="somebody has it"):
            with turn.take():
                pass
        with pytest.raises(RuntimeError, match="somebody has it"):
            with turn.take():
                pass
    taken = turn.take()
    with taken:
        taken.finish()
        taken.finish()      # given back once
        with turn.take():
            with pytest.raises(RuntimeError):
                turn.take().__enter__()


def test_a_cycle_is_closed_children_first():
    for _ in range(20):
        objects = Objects()
        parent = objects.handle("parent")
        family = [parent, *(objects.handle("child", parent) for _ in range(5))]
        parent.cycle = family
        del parent, family
        gc.collect()
        assert objects.closed == ["child"] * 5 + ["parent"]


def test_no_finalizer_is_code_of_python():
    """Where one runs, Python drops the exceptions of signals."""
    objects = Objects()
    parent = objects.handle("parent")
    family = [parent, objects.handle("child", parent)]
    seen = []
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_name) if event == "call" else None)
    try:
        family.clear()
        del parent
    finally:
        sys.setprofile(None)
    assert objects.closed == ["child", "parent"] and not seen


def test_weak_references_do_not_pile_up():
    class Thing:
        pass
    refs = handles.WeakRefs()
    kept = Thing()
    refs.add(kept)
    for _ in range(1000):
        refs.add(Thing())
    assert list(refs) == [kept] and len(refs) == 1 and len(refs._refs) < 40
