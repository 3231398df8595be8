/* The view of passes: a canvas on which masks turn into tokens, and the timeline below it. Draws what frames.js reckons. */
import {el, recall, say} from "./dom.js";
import {LEVELS, canvasAt, endOf, level, timeOf} from "./frames.js";

export const MASK = "\u2591";

/** Passes a second of a replay. */
const SPEEDS = [1, 2, 4, 8, 16];
/* A live view that lags so many passes behind hurries. */
const LAG = 8;
/* Milliseconds that a screen shows one picture. */
const FRAME = 16;

const number = (n, digits) => n.toLocaleString("en", {maximumFractionDigits: digits});

/* Outlines on a square of 16. */
const ICONS = {
    first: "M4 3.5v9M11.5 3.5L7 8l4.5 4.5", back: "M10 3.5L5.5 8l4.5 4.5", forward: "M6 3.5L10.5 8L6 12.5",
    last: "M12 3.5v9M4.5 3.5L9 8l-4.5 4.5", play: "M5 3.5v9l7-4.5z", pause: "M5.5 3.5v9M10.5 3.5v9",
};

function icon(name) {
    const make = (tag, attributes) => {
        const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
        return node;
    };
    const svg = make("svg", {viewBox: "0 0 16 16", "aria-hidden": "true"});
    svg.append(make("path", {d: ICONS[name], class: name}));
    return svg;
}

/** Confidence that does not round to 1 before it is. */
export function confidenceText(c) {
    return c >= 0.99995 ? "above 0.9999" : c.toFixed(4);
}

/** A token's text for a line about it. */
function quoted(text) {
    return `\u201c${text.replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5")}\u201d`;
}

/** The boxes of confidence, once a page. */
export function legend() {
    return [
        el("span", {}, "Confidence: "),
        ...LEVELS.map((l, i) => el("span", {class: `sample c${i}`}, l.name)).reverse(),
        el("span", {}, el("span", {class: "mask active", "aria-hidden": "true"}, MASK), " mask"),
        el("span", {class: "new"}, "new in this pass"),
    ];
}

export class PassView {
    /** `track` may still grow: `arrived` says that it did, `finished` that it will not. */
    constructor(track, stopIds) {
        this.track = track;
        this.stopIds = stopIds;
        this.shown = 0; /* the pass */
        this.live = true; /* follows what comes */
        this.whole = false;
        this.timer = 0;
        this.spans = [];
        this.selected = -1;
        this.build();
        this.draw();
    }

    build() {
        /* With this role the arrow keys come here, not to a screen reader's own cursor. */
        this.canvas = el("div", {class: "canvas", tabindex: "0", role: "application", onkeydown: (e) => this.walk(e),
                                 onmouseover: (e) => this.point(e), onmouseleave: () => this.select(-1),
                                 onblur: () => this.select(-1)});
        this.detail = el("output", {class: "detail"});
        this.slider = el("input", {type: "range", min: "0", max: "0", step: "1", value: "0", "aria-label": "Pass",
                                   oninput: () => this.go(Number(this.slider.value)), onkeydown: (e) => this.key(e)});
        /* Their titles are their names, and what they did is told: the focus stays, and the caption is elsewhere. */
        const button = (name, label, action) => el("button", {type: "button", title: label, onclick: action}, icon(name));
        const step = (name, label, to) => button(name, label, () => {
            this.go(to());
            this.tell();
        });
        this.playing = button("play", "Play", () => this.toggle());
        this.speed = el("select", {"aria-label": "Speed", onchange: () => this.timer && this.play()},
                        ...SPEEDS.map((s) => el("option", {value: s, selected: s === 4},
                                                s === 1 ? "1 pass/s" : `${s} passes/s`)));
        this.caption = el("span");
        this.controls = el("div", {class: "controls", role: "group", "aria-label": "Timeline"},
                           step("first", "To the beginning", () => 0),
                           step("back", "Back one pass", () => this.shown - 1),
                           this.playing,
                           step("forward", "Forward one pass", () => this.shown + 1),
                           step("last", "To the end", () => this.last),
                           this.slider, this.speed);
        this.node = el("div", {class: "passes"}, this.canvas, this.controls,
                       el("p", {class: "caption"}, this.caption, this.detail));
    }

    get last() {
        return this.track.frames.length;
    }

    /** How long a live view stays at one pass, at least. */
    get pace() {
        return Number(recall("localStorage", "pace") ?? 100);
    }

    arrived() {
        if (this.live && this.pace > 0) this.hurry();
        else this.drawing ||= requestAnimationFrame(() => {
            this.drawing = 0;
            this.show(this.live ? this.last : this.shown);
        });
    }

    /** Live, one pass after the other; the further behind, the faster, at last several in one frame. */
    hurry() {
        if (this.timer || this.shown >= this.last) return;
        const delay = this.pace / (1 + Math.floor((this.last - this.shown) / LAG));
        this.show(this.shown + Math.ceil(FRAME / delay));
        this.timer = setTimeout(() => {
            this.timer = 0;
            if (this.live) this.hurry();
        }, Math.max(FRAME, delay));
    }

    finished() {
        this.whole = true;
        this.slider.max = String(this.last);
        if (this.live && this.pace === 0) this.show(this.last);
        else this.draw();
    }

    /* ---- the timeline ---- */

    go(k) {
        this.pause();
        this.live = !this.whole && k >= this.last;
        this.show(k);
    }

    show(k) {
        this.shown = Math.max(0, Math.min(k, this.last));
        this.draw();
    }

    toggle() {
        if (this.runs) {
            this.pause();
            this.tell();
        } else {
            this.play();
        }
    }

    /** Screen readers are told where a replay stands. */
    tell() {
        say(this.caption.textContent);
    }

    get runs() {
        return this.timer !== 0 && !this.live;
    }

    play() {
        this.pause();
        this.live = false;
        if (this.shown >= this.last) this.show(0);
        const step = () => {
            this.show(this.shown + 1);
            if (this.shown >= this.last && this.whole) {
                this.pause();
                this.tell();
            } else {
                this.timer = setTimeout(step, 1000 / Number(this.speed.value));
            }
        };
        this.timer = setTimeout(step, 1000 / Number(this.speed.value));
        this.mark();
    }

    pause() {
        clearTimeout(this.timer);
        this.timer = 0;
        this.mark();
    }

    /** Play or pause, whichever the button does. */
    mark() {
        this.playing.replaceChildren(icon(this.runs ? "pause" : "play"));
        this.playing.title = this.runs ? "Pause" : "Play";
    }

    key(event) {
        if (event.key !== " ") return;
        event.preventDefault();
        this.toggle();
    }

    /* ---- drawing ---- */

    draw() {
        const state = canvasAt(this.track, this.shown);
        const end = endOf(state.cells, this.stopIds);
        this.state = state;
        state.cells.forEach((cell, i) => this.put(i, cell, state, end));
        while (this.spans.length > state.cells.length) this.spans.pop().node.remove();
        this.slider.max = String(this.last);
        this.slider.value = String(this.shown);
        this.describe(state);
        if (this.selected >= 0) this.select(Math.min(this.selected, state.cells.length - 1));
    }

    /** Touches a span only where something changed: a long canvas is drawn at every pass. */
    put(i, cell, state, end) {
        const after = i >= end, filler = i > end && cell && this.stopIds.has(cell.id);
        const worked = i >= state.begin && i < state.end;
        const look = !cell ? (worked ? "mask active" : "mask later")
                           : `token c${level(cell.confidence)}${cell.pass === this.shown ? " new" : ""}${after ? " after" : ""}`;
        const text = !cell ? MASK : filler ? "\u00b7" : cell.text.replace(/\n/g, "\u21b5\n");
        let span = this.spans[i];
        if (!span) {
            span = this.spans[i] = {node: el("span"), look: "", text: ""};
            this.canvas.append(span.node);
        }
        if (span.look !== look) span.node.className = span.look = look;
        if (span.text !== text) span.node.textContent = span.text = text;
    }

    describe(state) {
        const rows = state.frame ? `, ${state.frame.rows} rows in ${number(state.frame.milliseconds, 1)} ms` : "";
        const text = `pass ${this.shown} of ${this.last}${this.whole ? "" : " so far"}: ` +
            `${state.known} of ${state.cells.length} known${rows}`;
        this.caption.textContent = text;
        this.slider.setAttribute("aria-valuetext", text);
        this.canvas.setAttribute("aria-label", `Canvas after ${text}. Arrow keys go from token to token.`);
        this.caption.title = `${number(timeOf(this.track, this.shown), 1)} ms of passes until here`;
    }

    /* ---- one token ---- */

    point(event) {
        this.select(this.spans.findIndex((s) => s.node === event.target));
    }

    walk(event) {
        const steps = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1};
        const n = this.spans.length;
        let to = this.selected;
        if (event.key in steps) to = to < 0 ? 0 : to + steps[event.key];
        else if (event.key === "Home") to = 0;
        else if (event.key === "End") to = n - 1;
        else return;
        event.preventDefault();
        this.select(Math.max(0, Math.min(to, n - 1)));
    }

    select(i) {
        if (this.spans[this.selected]) this.spans[this.selected].node.classList.remove("chosen");
        this.selected = i;
        const cell = i < 0 ? undefined : this.state.cells[i];
        if (this.spans[i]) this.spans[i].node.classList.add("chosen");
        this.detail.textContent =
            cell === undefined ? ""
            : cell === null ? `position ${i}: a mask`
            : `position ${i}: ${quoted(cell.text)}, token ${cell.id}, confidence ${confidenceText(cell.confidence)}, ` +
              `pass ${cell.pass}, block ${cell.block}`;
        this.caption.hidden = cell !== undefined;
    }
}
