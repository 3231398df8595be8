/*
 * The model of a canvas: what a pass changed, and which token stands where after the k-th pass. Pure functions over plain
 * objects; they know nothing of the page.
 */

/** Steps of confidence, those of the terminal's view; the last one is the surest. */
export const LEVELS = [
    {below: 0.5, name: "below 0.5"},
    {below: 0.8, name: "0.5 to 0.8"},
    {below: 0.95, name: "0.8 to 0.95"},
    {below: Infinity, name: "from 0.95"},
];

export const MOST_CANVAS = 1 << 17;

export function level(confidence) {
    return LEVELS.findIndex((l) => confidence < l.below);
}

/** A score from 0 to 1. Negative entropy, the only score below 0, becomes the probability of each token of an even choice
 * that has this entropy. */
export function likelihood(score) {
    return score < 0 ? Math.exp(score) : score;
}

const whole = (n) => Number.isInteger(n) && n >= 0;

/** What is wrong with a frame as the server sends it, in words; "" for nothing. */
export function fault(frame) {
    if (frame === null || typeof frame !== "object" || !Number.isInteger(frame.block)) return "it has no block";
    if (!whole(frame.pass) || !whole(frame.rows)) return "its numbers of pass and rows are none";
    if (!Number.isFinite(frame.milliseconds) || frame.milliseconds < 0) return "its time is no number";
    if (!whole(frame.canvas) || frame.canvas > MOST_CANVAS) return "its canvas has no length";
    if (!whole(frame.begin) || !whole(frame.end) || frame.end > frame.canvas) return "its block is not on the canvas";
    if (!Array.isArray(frame.changes)) return "it has no changes";
    if (frame.joined !== undefined && !Array.isArray(frame.joined)) return "its joined characters are no list";
    for (const c of frame.changes) {
        if (!Array.isArray(c) || c.length !== 4 || !whole(c[1]) || typeof c[2] !== "string" || !Number.isFinite(c[3]))
            return "a change is not [position, id, text, confidence]";
        /* Masks of the prompt that were filled lie before the answer. */
        if (!Number.isInteger(c[0]) || c[0] >= frame.canvas) return "a change is not on the canvas";
    }
    for (const j of frame.joined ?? [])
        if (!Array.isArray(j) || j.length !== 3 || !whole(j[0]) || !whole(j[1]) || j[0] + j[1] > frame.canvas || typeof j[2] !== "string")
            return "its joined characters are not [position, tokens, text]";
    return "";
}

/** All passes of an answer, in order. Those that only read the prompt are counted apart: they change nothing. */
export function newTrack() {
    return {frames: [], promptPasses: 0, promptMilliseconds: 0};
}

/** Adds the next frame; returns whether it is one to show. */
export function addFrame(track, frame) {
    const shown = frame.block >= 0 || frame.changes.length > 0;
    if (shown) {
        track.frames.push(frame);
    } else {
        track.promptPasses++;
        track.promptMilliseconds += frame.milliseconds;
    }
    return shown;
}

/**
 * The canvas after pass k of those to show; k = 0: before the first.
 * {cells: [null for a mask, or {id, text, confidence, pass, block}], known, begin, end, frame}
 * [begin, end) is the block that was worked on, `frame` the k-th frame or null.
 */
export function canvasAt(track, k) {
    const now = track.frames[Math.max(0, Math.min(k, track.frames.length) - 1)];
    if (!now) return {cells: [], known: 0, begin: 0, end: 0, frame: null};
    const cells = new Array(now.canvas).fill(null);
    let known = 0;
    track.frames.slice(0, k).forEach((frame, i) => {
        for (const [position, id, text, score] of frame.changes) {
            if (position < 0 || position >= cells.length) continue;
            if (!cells[position]) known++;
            cells[position] = {id, text, confidence: likelihood(score), pass: i + 1, block: frame.block};
        }
        /* A character of several tokens stands at the first of them. */
        for (const [first, n, text] of frame.joined ?? [])
            for (let at = first; at < first + n; at++) if (cells[at]) cells[at].text = at === first ? text : "";
    });
    return {cells, known, begin: now.begin, end: now.end, frame: k > 0 ? now : null};
}

/** Where the answer ended: the first position that holds one of these ids with all known before it, or the length. */
export function endOf(cells, stopIds) {
    for (let i = 0; i < cells.length && cells[i]; i++) if (stopIds.has(cells[i].id)) return i;
    return cells.length;
}

/** What an answer took by its passes alone, for one whose end the server did not tell: as the server counts. */
export function numbersOf(track, stopIds) {
    const {cells} = canvasAt(track, track.frames.length);
    const tokens = cells.slice(0, endOf(cells, stopIds)).filter(Boolean).length;
    const passes = track.frames.length + track.promptPasses;
    return {tokens, passes, tokensPerPass: passes ? tokens / passes : 0,
            milliseconds: timeOf(track, track.frames.length) + track.promptMilliseconds};
}

/** Milliseconds of passes 1 to k. */
export function timeOf(track, k) {
    return track.frames.slice(0, k).reduce((sum, f) => sum + f.milliseconds, 0);
}
