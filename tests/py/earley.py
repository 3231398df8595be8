"""An independent recogniser of context-free languages (Earley, 1970; nullable rules as Aycock and Horspool, 2002, have them),
grammars as trees, and their GBNF. A tree is ("text", str), ("class", str), ("rule", name), ("cat", trees), ("alt", trees) or
("repeat", tree, least, most), most None without a bound."""


def gbnf(tree):
    kind = tree[0]
    if kind == "text":
        return '"' + tree[1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if kind == "class":
        return "[" + tree[1] + "]"
    if kind == "rule":
        return tree[1]
    if kind == "cat":
        return "(" + " ".join(gbnf(t) for t in tree[1]) + ")"
    if kind == "alt":
        return "(" + " | ".join(gbnf(t) for t in tree[1]) + ")"
    _, inner, least, most = tree
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    return gbnf(inner) + (short or "{%d,%s}" % (least, "" if most is None else most))


def text_of(rules):
    return "\n".join(f"{name} ::= {gbnf(tree)}" for name, tree in rules.items()) + "\n"


class Recogniser:
    """Rules as plain productions: tuples of ("is", characters) and names."""

    def __init__(self, rules):
        self.productions = {}
        for name, tree in rules.items():
            self.productions[name] = [self._flat(tree)]
        self.nullable = set()
        while True:
            more = {name for name, bodies in self.productions.items() if name not in self.nullable
                    and any(all(s in self.nullable for s in body) for body in bodies)}
            if not more:
                break
            self.nullable |= more

    def _new(self, bodies):
        name = f" {len(self.productions)}"
        self.productions[name] = None
        self.productions[name] = [tuple(body(name)) if callable(body) else body for body in bodies]
        return name

    def _flat(self, tree):
        kind = tree[0]
        if kind == "text":
            return tuple(("is", c) for c in tree[1])
        if kind == "class":
            return (("is", tree[1]),)
        if kind == "rule":
            return (tree[1],)
        if kind == "cat":
            return tuple(s for t in tree[1] for s in self._flat(t))
        if kind == "alt":
            return (self._new([self._flat(t) for t in tree[1]]),)
        _, inner, least, most = tree
        once = self._new([self._flat(inner)])
        if most is None:
            return (once,) * least + (self._new([(), lambda name: (once, name)]),)
        optional = self._new([(), (once,)])
        return (once,) * least + (optional,) * (most - least)

    def accepts(self, text, root="root"):
        sets = [set() for _ in range(len(text) + 1)]
        start = [(root, body, 0, 0) for body in self.productions[root]]
        queue, sets[0] = list(start), set(start)
        for at in range(len(text) + 1):
            queue = list(sets[at])

            def add(item):
                if item not in sets[at]:
                    sets[at].add(item)
                    queue.append(item)

            while queue:
                name, body, dot, origin = item = queue.pop()
                if dot == len(body):
                    for other in list(sets[origin]):
                        if other[2] < len(other[1]) and other[1][other[2]] == name:
                            add((other[0], other[1], other[2] + 1, other[3]))
                elif isinstance(body[dot], str):
                    for called in self.productions[body[dot]]:
                        add((body[dot], called, 0, at))
                    if body[dot] in self.nullable:
                        add((name, body, dot + 1, origin))
                elif at < len(text) and text[at] in body[dot][1]:
                    sets[at + 1].add((name, body, dot + 1, origin))
        return any(i[0] == root and i[2] == len(i[1]) and i[3] == 0 for i in sets[len(text)])
