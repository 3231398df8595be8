"""Constraints: what an answer must be, as a regular expression, a JSON schema or a grammar."""
import json
from ctypes import byref
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional, Tuple, Union

from . import _native
from .handles import Handle, only_here

if TYPE_CHECKING:
    from .text import Tokenizer

__all__ = ["Constraint", "ConstraintInfo"]

Schema = Union[str, bytes, bool, Mapping[str, Any]]


class ConstraintInfo(NamedTuple):
    """What a constraint takes."""

    bytes: int    # of memory
    states: int   # of its automaton
    classes: int  # of tokens that act alike
    tokens: int   # ids that occur in texts that match
    sets: int     # of classes, each weighed once a position at most
    depth: int    # of a grammar: how deep its rules nest at most; 0: nothing is left out


def _schema_text(schema: Schema) -> str:
    if isinstance(schema, (str, bytes)):
        return schema if isinstance(schema, str) else schema.decode()
    try:
        return json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a JSON schema is a mapping of JSON values, true, false, or the text of one: {error}") from None


def _text(kind: str, value: Any) -> str:
    return _schema_text(value) if kind == "json_schema" else str(value)


class Constraint:
    """An answer that a regular expression matches as a whole, that is an instance of a JSON schema, or that a context-free
    grammar derives, over the tokens of one tokenizer. Immutable; may be shared between threads, and by models with the
    same vocabulary. docs/DECODING.md says what expressions, schemas and grammars may hold."""

    __reduce_ex__ = only_here

    def __init__(self, tokenizer: "Tokenizer", *, regex: Optional[str] = None, json_schema: Optional[Schema] = None,
                 grammar: Optional[str] = None, max_depth: int = 0, max_bytes: int = 0) -> None:
        """One of the three:

        regex        a regular expression
        json_schema  a JSON schema: a mapping, or its text
        grammar      the text of a grammar in GBNF, whose rule "root" derives the answer

        max_depth    how deep a "$ref" of the schema may be followed inside itself; 0: such a schema is refused. How deep
                     rules of a grammar nest; 0: as deep as 20000 states allow, 16 at most
        max_bytes    most memory that the constraint may take; 0: 256 MB
        """
        given = [(kind, value) for kind, value in (("regex", regex), ("json_schema", json_schema), ("grammar", grammar))
                 if value is not None]
        if len(given) != 1:
            raise ValueError("a constraint is a regex, a json_schema or a grammar; give one of them")
        self.kind, value = given[0]
        self.text = _text(self.kind, value)
        encoded = self.text.encode("utf-8", "surrogatepass")
        options = _native.ConstraintOptions(max_bytes=max_bytes, max_depth=max_depth)
        function = {"regex": "dlx_constraint_from_regex", "json_schema": "dlx_constraint_from_schema",
                    "grammar": "dlx_constraint_from_grammar"}[self.kind]
        with tokenizer._handle.use() as pointer:
            self._handle = Handle("the constraint",
                                  lambda out: _native.call(function, out, pointer, encoded, len(encoded), byref(options)),
                                  _native.library().dlx_constraint_free, inherited=True)

    def __repr__(self) -> str:
        return f"<Constraint, {self.kind} {self.text!r}>"

    def accepts(self, text: str) -> bool:
        """Whether a text is what the constraint wants."""
        encoded = text.encode("utf-8", "surrogatepass")
        with self._handle.use() as pointer:
            return bool(_native.library().dlx_constraint_accepts(pointer, encoded, len(encoded)))

    @property
    def info(self) -> ConstraintInfo:
        """Sizes."""
        out = _native.ConstraintInfo()
        with self._handle.use() as pointer:
            _native.call("dlx_constraint_get_info", pointer, byref(out))
        return ConstraintInfo(*(getattr(out, name) for name in ConstraintInfo._fields))

    def close(self) -> None:
        """Frees it. Closing twice is fine; RuntimeError while a decode uses it."""
        self._handle.close()


NAMES = ("constraint", "regex", "json_schema", "grammar")


def constraint_of(options: Mapping[str, Any], tokenizer: "Optional[Tokenizer]") -> Optional[Constraint]:
    """What the keywords of NAMES among decode options say; those that a tokenizer made last are kept with it."""
    given = [(name, options[name]) for name in NAMES if options.get(name) is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0][0]} and {given[1][0]} were given; an answer has one constraint")
    if not given:
        return None
    name, value = given[0]
    if name == "constraint":
        if not isinstance(value, Constraint):
            raise ValueError(f"constraint must be a Constraint, not {value!r}; a text is given as regex, json_schema or grammar")
        return value
    if tokenizer is None:
        raise ValueError(f"{name} needs a tokenizer, and this decode has none; make a Constraint with one")
    key: Tuple[str, str] = (name, _text(name, value))
    kept = tokenizer._constraints
    found = kept.get(key)
    if found is None:
        found = Constraint(tokenizer, **{name: key[1]})  # type: ignore[arg-type]
        while len(kept) >= 8:
            kept.pop(next(iter(kept)), None)
        kept[key] = found
    return found
