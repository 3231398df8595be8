/* Recordings: an answer with all its passes, as a JSON file that this page opens again. Version 1 is described in
 * docs/SERVER.md. */
import {addFrame, fault, newTrack} from "./frames.js";

export const FORMAT = "diffulex-edge recording";
export const VERSION = 1;
const MOST_BYTES = 64 << 20;
const NUMBERS = ["tokens", "passes", "tokensPerPass", "milliseconds"];

/** The file's text. `answer` is {text, reasoning, finish, tokens, passes, tokensPerPass, milliseconds}. */
export function write({model, messages, options, answer, stopIds, track}) {
    return JSON.stringify({
        format: FORMAT, version: VERSION, model, messages, options, answer, stop_ids: [...stopIds],
        prompt_passes: track.promptPasses, frames: track.frames,
    }, null, 1) + "\n";
}

function need(condition, sentence) {
    if (!condition) throw new Error(sentence);
}

const isText = (value) => typeof value === "string";

/** What `write` was given, or an Error whose message is a sentence for who opened the file. */
export function read(text) {
    let r = null;
    try {
        r = JSON.parse(text);
    } catch {
        need(false, "This file is no recording: it is not JSON.");
    }
    need(r && r.format === FORMAT, "This file is no recording of DiffuLex Edge.");
    need(r.version === VERSION, `This recording has version ${r.version}; this page reads version ${VERSION}.`);
    need(r.model && isText(r.model.name) && isText(r.model.family), "This recording does not name its model.");
    need(Array.isArray(r.messages) && r.messages.every((m) => m && isText(m.role) && isText(m.content)),
         "This recording has no list of messages.");
    need(r.answer && isText(r.answer.text), "This recording has no answer.");
    need(Array.isArray(r.stop_ids) && r.stop_ids.every(Number.isInteger), "This recording has no list of stop ids.");
    need(Array.isArray(r.frames) && r.frames.length > 0, "This recording has no passes.");
    const track = newTrack();
    r.frames.forEach((frame, i) => {
        const wrong = fault(frame);
        need(!wrong, `Pass ${i + 1} of this recording is damaged: ${wrong}.`);
        need(addFrame(track, frame), `Pass ${i + 1} of this recording is damaged: it only reads the prompt.`);
    });
    track.promptPasses = Number.isInteger(r.prompt_passes) && r.prompt_passes >= 0 ? r.prompt_passes : 0;
    const {text: said, reasoning, finish} = r.answer;
    const answer = {text: said, reasoning: isText(reasoning) ? reasoning : "", finish: isText(finish) ? finish : ""};
    for (const name of NUMBERS) answer[name] = Number.isFinite(r.answer[name]) ? r.answer[name] : 0;
    return {model: r.model, messages: r.messages, options: r.options || {}, answer, stopIds: new Set(r.stop_ids), track};
}

/** Of a file that somebody chose. */
export async function readFile(file) {
    need(file.size <= MOST_BYTES, "This file is too large for a recording: it has more than 64 MiB.");
    return read(await file.text());
}

/** Hands it to the browser's downloads. */
export function save(text, name) {
    const url = URL.createObjectURL(new Blob([text], {type: "application/json"}));
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}
