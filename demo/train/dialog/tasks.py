"""Dialogues whose answers a program checks: sums, word lists, spelling, dates, units, and references to the turn before.

A turn is (task, question, answer, topic); the topic is what a following question may refer to. Whether an operand belongs
to training or to the held-out set is decided by a hash of its own, so the two never share a pair of summands, a word, a
date with an offset or a quantity, in whichever turn it appears.
"""
import hashlib
import json
import pathlib
import random

MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]
LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
UNITS = [("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("l", "ml", 1000)]
CLOCKS = [("h", "min"), ("min", "s")]
WORDS = (pathlib.Path(__file__).resolve().parent / "words.txt").read_text().split()
HELP = "I add numbers, sort and spell words, count days and convert units."
SHARE = 8                                                # one operand in so many is held out

# How often a dialogue opens with which task: from a training step on, hard tasks come more often than those learned early.
MIX = {0: dict(add=26, sort=18, spell=7, reverse=10, letters=3, date=16, weekday=4, convert=10, clock=4, greet=2),
       600: dict(add=36, sort=20, spell=3, reverse=6, letters=2, date=16, weekday=2, convert=5, clock=8, greet=2)}


# The held-out questions: how many of each task.
QUOTA = {"add": 140, "sort": 100, "spell": 70, "reverse": 90, "letters": 40, "date": 120, "weekday": 40, "convert": 90,
         "clock": 40, "refer add": 70, "refer sort": 70, "refer spell": 50, "refer date": 40, "refer convert": 40}

def is_heldout(*operand):
    digest = hashlib.blake2b(repr(operand).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % SHARE == 0


HELD_WORDS = [w for w in WORDS if is_heldout("word", w)]
SEEN_WORDS = [w for w in WORDS if not is_heldout("word", w)]
KNOWN = set(WORDS)


class Dialogues:
    """Random dialogues of one of the two sets; rng is a random.Random, step that of the training."""

    def __init__(self, rng, heldout=False, step=0):
        self.rng, self.heldout, self.mix = rng, heldout, MIX[max(s for s in MIX if s <= step)]

    def mine(self, draw, kind):
        """Draw until the operand belongs to this set."""
        while is_heldout(kind, value := draw()) != self.heldout:
            pass
        return value

    # Operands

    def number(self, digits):
        return self.rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10 ** digits)

    def made_up(self):
        """A word that is none: letters of any kind, or syllables. Training sees many, evaluation none."""
        rng, size = self.rng, self.rng.randint(3, 6)
        if rng.random() < 0.5:
            return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=size))
        first = rng.random() < 0.5
        return "".join(rng.choice("aeiouy" if (i + first) % 2 else "bcdfghjklmnprstvwz") for i in range(size))

    def word(self):
        if self.heldout:
            return self.rng.choice(HELD_WORDS)
        if self.rng.random() < 0.5:
            return self.rng.choice(SEEN_WORDS)
        while is_heldout("word", w := self.made_up()) or w in KNOWN:
            pass
        return w

    def words(self):
        n, chosen = self.rng.randint(3, 4), set()
        while len(chosen) < n:
            chosen.add(self.word())
        chosen = sorted(chosen)                          # so that the order does not hang on hashes of strings
        self.rng.shuffle(chosen)
        return chosen

    # First questions

    def add(self):
        rng = self.rng
        a, b = self.mine(lambda: sorted((self.number(rng.randint(1, 3)), self.number(rng.randint(1, 3)))), "add")
        if rng.random() < 0.5:
            a, b = b, a
        ask = rng.choice(["What is {} + {}?", "Add {} and {}.", "{} + {} = ?"])
        return "add", ask.format(a, b), str(a + b), ("sum", a + b)

    def sort(self):
        words = self.words()
        ask = self.rng.choice(["Sort these words: {}", "Sort: {}", "Put in alphabetical order: {}"])
        return "sort", ask.format(", ".join(words)), ", ".join(sorted(words)), ("list", sorted(words))

    def spell(self):
        w = self.word()
        ask = self.rng.choice(["Spell {}.", "How do you spell {}?", "Spell the word {}."])
        return "spell", ask.format(w), "-".join(w), ("word", w)

    def reverse(self):
        w = self.word()
        ask = self.rng.choice(["Spell {} backwards.", "How do you spell {} backwards?"])
        return "reverse", ask.format(w), "-".join(w[::-1]), ("word", w)

    def letters(self):
        w = self.word()
        return "letters", f"How many letters does {w} have?", str(len(w)), ("word", w)

    def date(self):
        rng = self.rng
        day, k, sign = self.mine(lambda: (rng.randrange(365), rng.randint(1, 9), rng.choice([1, -1])), "date")
        there = "after" if sign > 0 else "before"
        after = (day + sign * k) % 365
        ask = rng.choice(["What date is {} {} {}?", "Which day comes {} {} {}?"])
        return "date", ask.format(f"{k} day" + "s" * (k > 1), there, date_text(day)), date_text(after), ("date", after)

    def weekday(self):
        rng = self.rng
        day, k, sign = self.mine(lambda: (rng.randrange(7), rng.randint(2, 6), rng.choice([1, -1])), "weekday")
        walk = [(day + sign * i) % 7 for i in range(1, k + 1)]
        ask = f"Name the {k} days {'after' if sign > 0 else 'before'} {DAYS[day]}."
        return "weekday", ask, ", ".join(DAYS[d] for d in walk), ("weekday", walk[-1])

    def quantity(self, unit, back):
        return self.mine(lambda: (unit, self.rng.randint(1, 99 if back else 300)), "quantity")[1]

    def convert(self):
        unit, back = self.rng.randrange(len(UNITS)), self.rng.random() < 0.35
        start, end, answer = conversion(unit, back, self.quantity(unit, back))
        ask = self.rng.choice(["Convert {} to {}.", "What is {} in {}?"])
        return "convert", ask.format(start, end), answer, ("unit", unit, back)

    def clock(self):
        kind = self.rng.randrange(len(CLOCKS))
        big, small = CLOCKS[kind]
        h, m = self.mine(lambda: (self.rng.randint(1, 9), self.rng.randint(1, 59)), "clock")
        ask = self.rng.choice(["Convert {} to {}.", "What is {} in {}?"])
        return "clock", ask.format(f"{h} {big} {m} {small}", small), f"{60 * h + m} {small}", ("clock", kind)

    # Questions about the turn before

    def follow(self, topic):
        """A question that only makes sense behind the topic, or None."""
        return getattr(self, "follow_" + topic[0])(*topic[1:])

    def follow_sum(self, total):
        if total > 9900:
            return None
        steps = [k for k in range(1, 100) if is_heldout("add", sorted((total, k))) == self.heldout]
        if not steps:
            return None
        k = self.rng.choice(steps)
        ask = self.rng.choice(["Add {} to that.", "And add {} to that?", "Plus {}?"])
        return "refer add", ask.format(k), str(total + k), ("sum", total + k)

    def follow_list(self, words):
        kind = self.rng.randrange(4)
        if kind == 0:
            return "refer sort", "Which word comes first?", words[0], ("word", words[0])
        if kind == 1:
            return "refer sort", "Which word comes last?", words[-1], ("word", words[-1])
        if kind == 2:
            ask, words = "Now sort the same words backwards.", sorted(words, reverse=True)
        else:
            ask, words = "And in reverse order?", words[::-1]
        return "refer sort", ask, ", ".join(words), ("list", words)

    def follow_word(self, w):
        kind = self.rng.randrange(4)
        if kind == 0:
            return "refer spell", "How many letters does it have?", str(len(w)), ("word", w)
        if kind == 1:
            return "refer spell", self.rng.choice(["Spell it.", "Now spell it."]), "-".join(w), ("word", w)
        ask = self.rng.choice(["And backwards?", "Now spell it backwards."])
        return "refer spell", ask, "-".join(w[::-1]), ("word", w)

    def follow_date(self, day):
        steps = [(k, sign) for k in range(1, 10) for sign in (1, -1) if is_heldout("date", (day, k, sign)) == self.heldout]
        if not steps:
            return None
        k, sign = self.rng.choice(steps)
        after, there = (day + sign * k) % 365, "after" if sign > 0 else "before"
        ask = f"And the day {there} that?" if k == 1 else f"And {k} days {there} that?"
        return "refer date", ask, date_text(after), ("date", after)

    def follow_weekday(self, day):
        sign = self.rng.choice([1, -1])
        after = (day + sign) % 7
        ask = f"And the day {'after' if sign > 0 else 'before'} that?"
        return "refer date", ask, DAYS[after], ("weekday", after)

    def follow_unit(self, unit, back):
        start, _, answer = conversion(unit, back, self.quantity(unit, back))
        return "refer convert", f"And {start}?", answer, ("unit", unit, back)

    def follow_clock(self, kind):
        big, small = CLOCKS[kind]
        h, m = self.mine(lambda: (self.rng.randint(1, 9), self.rng.randint(1, 59)), "clock")
        return "refer convert", f"And {h} {big} {m} {small}?", f"{60 * h + m} {small}", ("clock", kind)

    def greet(self):
        ask = self.rng.choice(["Hello", "Hello!", "Hi", "Help", "What can you do?"])
        return "greet", ask, HELP, None

    # Dialogues

    def first(self, task=None):
        return getattr(self, task or self.rng.choices(list(self.mix), list(self.mix.values()))[0])()

    def dialogue(self, turns=None):
        """A list of turns; two in three later ones refer to the one before."""
        turns, done = turns or self.rng.choices([1, 2, 3, 4, 5], [60, 27, 10, 2, 1])[0], [self.first()]
        while len(done) < turns:
            topic = done[-1][3]
            turn = self.follow(topic) if topic and self.rng.random() < 0.67 else None
            done.append(turn or self.first())
        return done


def date_text(day):
    """Day of a year of 365 days, counted from 0."""
    month = 0
    while day >= LENGTHS[month]:
        day, month = day - LENGTHS[month], month + 1
    return f"{MONTHS[month]} {day + 1}"


def conversion(unit, back, tenths):
    """tenths of the larger unit -> (quantity asked about, unit asked for, answer)."""
    big, small, factor = UNITS[unit]
    whole, tenth = divmod(tenths, 10)
    large, little = f"{whole}.{tenth} {big}" if tenth else f"{whole} {big}", f"{tenths * factor // 10} {small}"
    return (little, big, large) if back else (large, small, little)


def questions(seed=2024, heldout=True, quota=None, without=()):
    """Different dialogues, as many of each task as QUOTA says; the task is that of the last question, earlier turns hold
    the right answers. The defaults give the held-out file; another seed gives others, but for those in `without`, a set
    of messages as JSON."""
    dialogues, left, seen, entries = Dialogues(random.Random(seed), heldout), dict(quota or QUOTA), set(without), []
    wanted = sum(left.values())
    while len(entries) < wanted:
        turns = dialogues.dialogue()
        task, question, answer, _ = turns[-1]
        earlier = [m for _, q, a, _ in turns[:-1] for m in (dict(role="user", content=q), dict(role="assistant", content=a))]
        messages = earlier + [dict(role="user", content=question)]
        key = json.dumps(messages)
        if left.get(task, 0) and key not in seen and all(t[0] != "greet" for t in turns):
            seen.add(key)
            left[task] -= 1
            entries.append(dict(messages=messages, answer=answer, task=task))
    random.Random(7).shuffle(entries)
    return entries
