/* The conversation: questions, answers as they come, and what can be done with an answer. */
import {Failure, events} from "./api.js";
import {byId, el, notice, recall, remember, say} from "./dom.js";
import {addFrame, fault, newTrack, numbersOf} from "./frames.js";
import {save, write} from "./recording.js";
import {boundTo} from "./settings.js";
import {PassView} from "./view.js";

const number = (n, digits = 0) => n.toLocaleString("en", {maximumFractionDigits: digits});

/* Why an answer is not whole. The last two are the page's own words, in recordings too. */
const ENDS = {length: "cut off at the longest answer", stopped: "stopped", broken: "broken off"};

/** What one answer took, in words. */
export function statistics({tokens, passes, tokensPerPass, milliseconds}) {
    if (!passes) return "";
    const rate = milliseconds > 0 ? `${number(tokens / milliseconds * 1e3)} tokens/s` : "";
    const count = (n, one, many) => `${n} ${n === 1 ? one : many}`;
    return [count(tokens, "token", "tokens"), count(passes, "pass", "passes"), `${number(tokensPerPass, 2)} tokens a pass`, rate].filter(Boolean).join(" \u00b7 ");
}

/** A question, and what its answer is bound to. */
function asked(question, options) {
    const bound = boundTo(options);
    return [el("p", {class: "question"}, el("span", {class: "unseen"}, "You: "), question),
            bound && el("p", {class: "quiet bound"}, `bound to ${bound}`)];
}

async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
    } catch { /* pages that did not come over TLS or from this machine have no clipboard */
        const area = el("textarea", {class: "unseen"}, text);
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
    }
    say("Copied.");
}

/** One answer: its text, its passes, its state. */
class Answer {
    constructor(stopIds, track = newTrack()) {
        this.track = track;
        this.stopIds = stopIds;
        this.text = this.reasoning = this.finish = "";
        this.numbers = {tokens: 0, passes: 0, tokensPerPass: 0, milliseconds: 0};
        this.view = new PassView(track, stopIds);
        this.build();
        this.choose(recall("localStorage", "view") || "passes");
    }

    build() {
        this.words = el("div", {class: "text"});
        this.thought = el("div", {class: "thought"});
        this.folded = el("details", {class: "reasoning", "aria-label": "Reasoning", hidden: true}, el("summary", {}, "Reasoning"), this.thought);
        this.state = el("p", {class: "state quiet"});
        this.error = el("p", {class: "error", hidden: true});
        const tab = (name, label) => el("button", {type: "button", "aria-pressed": "false",
                                                   onclick: () => this.choose(name, true)}, label);
        this.tabs = {passes: tab("passes", "Passes"), text: tab("text", "Text")};
        this.actions = el("span", {class: "buttons"});
        this.bar = el("div", {class: "bar"}, el("span", {class: "tabs", role: "group", "aria-label": "View"},
                                                this.tabs.passes, this.tabs.text), this.actions, this.state);
        this.node = el("article", {class: "answer", "aria-label": "Answer"}, this.folded, this.words, this.view.node, this.error,
                       this.bar);
    }

    choose(name, keep = false) {
        this.words.hidden = name !== "text";
        this.view.node.hidden = name === "text";
        for (const [each, button] of Object.entries(this.tabs)) button.setAttribute("aria-pressed", String(each === name));
        if (keep) remember("localStorage", "view", name);
    }

    addText(text) {
        this.text += text;
        this.words.textContent = this.text;
    }

    addReasoning(text) {
        this.reasoning += text;
        this.thought.textContent = this.reasoning;
        this.folded.hidden = false;
    }

    /** Takes one event of a stream. */
    take(value) {
        const choice = value.choices[0];
        const delta = choice ? choice.delta || {content: choice.text} : {};
        const told = value.diffusion;
        if (told && told.changes) {
            const wrong = fault(told);
            if (wrong) throw new Failure(`The server sent a pass that cannot be shown: ${wrong}.`);
            if (addFrame(this.track, told)) this.view.arrived();
            else this.state.textContent = `reading the prompt, pass ${this.track.promptPasses}`;
        }
        if (delta.reasoning_content) this.addReasoning(delta.reasoning_content);
        if (delta.content) this.addText(delta.content);
        for (const call of delta.tool_calls || []) this.addText(JSON.stringify(call.function));
        if (choice && choice.finish_reason) this.finish = choice.finish_reason;
        if (value.usage && told)
            this.numbers = {tokens: value.usage.completion_tokens, passes: told.passes, tokensPerPass: told.tokens_per_pass,
                            milliseconds: told.milliseconds};
    }

    /** `finish`: where the server did not tell it. */
    end(finish = this.finish) {
        this.finish = finish;
        if (!this.numbers.passes) this.numbers = numbersOf(this.track, this.stopIds);
        this.view.finished();
        if (!this.track.frames.length) { /* nothing to choose from */
            this.choose("text");
            this.tabs.passes.parentNode.hidden = true;
            this.words.hidden = !this.text;
        }
        this.state.textContent = [ENDS[finish], statistics(this.numbers)].filter(Boolean).join(" \u00b7 ");
    }

    fail(text) {
        this.error.textContent = text;
        this.error.hidden = false;
        this.end(this.track.frames.length ? "broken" : "");
    }

    action(label, run) {
        const button = el("button", {type: "button", onclick: run}, label);
        this.actions.append(button);
        return button;
    }
}

export class Chat {
    /** `askKey` gets a key from the user, who may go away. */
    constructor(props, settings, askKey) {
        this.props = props;
        this.settings = settings;
        this.askKey = askKey;
        this.turns = []; /* {question, answer, good} */
        this.forgotten = []; /* turns that the running question is asked without, for they did not fit */
        this.running = null; /* the AbortController */
        this.end = 0; /* how high the page was */
        this.following = 0; /* a frame that is asked for */
        this.jump = false;
    }

    /** The ids that end an answer: the request's, or the model's. */
    stopIds({stop_ids: ids}) {
        const standard = (this.props.options.find((o) => o.name === "stop_ids") || {}).default || "";
        return new Set((ids ?? standard).split(",").map(Number).filter((n) => Number.isInteger(n) && n > 0));
    }

    /** What a request says: the whole conversation, or the text alone where a model has no template. `instead`: members in
     * the place of what the settings say. */
    request(question, instead) {
        const {diffusion, ...more} = this.settings.request();
        const common = {...more, ...instead, stream: true, stream_options: {include_usage: true}, diffusion: {...diffusion, steps: true}};
        if (!this.props.model.has_chat_template) return {path: "v1/completions", body: {prompt: question, ...common}};
        const messages = this.settings.system ? [{role: "system", content: this.settings.system}] : [];
        for (const turn of this.turns.filter((t) => t.good))
            messages.push({role: "user", content: turn.question}, {role: "assistant", content: turn.answer.text});
        messages.push({role: "user", content: question});
        return {path: "v1/chat/completions", body: {messages, ...common}};
    }

    /** Asks, in the place of turn `at` and those behind it; `instead` as in `request`. False: an answer runs, or a setting is
     * wrong, whose field is shown. */
    ask(question, at = this.turns.length, instead = {}) {
        if (this.running || this.settings.wrong()) return false;
        for (const later of this.turns.splice(at)) later.node.remove();
        notice("");
        const {path, body} = this.request(question, instead);
        const turn = {question, answer: new Answer(this.stopIds(body.diffusion)), body, good: false};
        turn.node = el("section", {class: "turn"}, ...asked(question, body), turn.answer.node);
        this.turns.push(turn);
        byId("turns").append(turn.node);
        this.follow(true);
        this.run(turn, path);
        return true;
    }

    async run(turn, path) {
        this.busy(new AbortController());
        try {
            await this.listen(turn, path, turn.body);
        } finally {
            this.busy(null);
            this.follow();
        }
        if (turn.refused) this.settings.refuse(turn.refused.param, turn.refused.message);
        if (!turn.again || !this.retry(turn, turn.again)) this.settle(turn);
    }

    /** The question has its answer, and the user is told what was left out for it; or it has none, and took nothing with it. */
    settle(turn) {
        if (!turn.good) for (const each of this.forgotten) each.good = true;
        else if (this.forgotten.length) notice("The context is full: the oldest questions are no longer sent.");
        this.forgotten = [];
    }

    async listen(turn, path, body) {
        const {answer} = turn;
        answer.state.textContent = "waiting";
        say("Waiting for the answer.");
        try {
            for await (const event of events(path, body, this.running.signal)) {
                answer.take(event);
                this.follow();
            }
            turn.good = true;
            answer.end();
            say(`Answer finished, ${statistics(answer.numbers)}. ${answer.text}`);
        } catch (error) {
            this.failed(turn, error);
        }
        this.addActions(turn);
    }

    failed(turn, error) {
        const {answer} = turn;
        if (error.name === "AbortError") {
            turn.good = answer.text !== "";
            answer.end("stopped");
            say(`Stopped. ${statistics(answer.numbers)}`.trim());
            return;
        }
        if (!(error instanceof Failure)) throw error;
        if (error.code === "context_length_exceeded" && this.fit(turn, error)) return;
        answer.fail(error.message);
        say(`Error: ${error.message}`);
        turn.refused = error;
        turn.waitSeconds = error.retrySeconds;
        if (error.status === 401) this.askKey().then(() => this.retry(turn), () => {});
    }

    addActions(turn) {
        const {answer} = turn;
        if (answer.text) answer.action("Copy", () => copy(answer.text));
        const again = answer.action("Retry", () => {
            if (this.retry(turn)) byId("question").focus(); /* the button went with its turn */
        });
        if (turn.waitSeconds) this.countDown(again, turn.waitSeconds);
        if (answer.track.frames.length) answer.action("Save recording", () => this.save(turn));
    }

    /** The server said when it has room again. */
    countDown(button, seconds) {
        button.disabled = seconds > 0;
        button.textContent = seconds > 0 ? `Retry in ${seconds} s` : "Retry";
        if (seconds > 0) setTimeout(() => this.countDown(button, seconds - 1), 1000);
    }

    /** What was too long is asked again: for a shorter answer, or else without the oldest turn that was sent. False: there is
     * none, and the question itself is too long, which `error` then says. */
    fit(turn, error) {
        const {messages, max_tokens: longest = 1} = turn.body;
        const context = this.props.model.n_ctx;
        const prompt = Number(/the prompt has (\d+)/.exec(error.message)[1]);
        const left = context - prompt;
        const oldest = messages && this.turns.find((each) => each.good);
        /* A long answer is a limit, not a wish for room; but one that is cut off after a few words helps nobody. */
        if (left >= Math.min(longest, context >> 3) || (left > 0 && !oldest)) {
            turn.again = {max_tokens: left};
        } else if (oldest) {
            oldest.good = false;
            this.forgotten.push(oldest);
            turn.again = {};
        } else if (messages) {
            const system = this.settings.system.length > turn.question.length;
            error.message = `${system ? "The system prompt" : "This question"} is too long: even without earlier questions ` +
                `the prompt has ${prompt} tokens, and the context ${context}.`;
            if (system) error.param = "system";
        }
        return Boolean(turn.again);
    }

    /** Asks the same again; what came later goes. `instead` as in `request`. */
    retry(turn, instead = {}) {
        const at = this.turns.indexOf(turn);
        return at >= 0 && this.ask(turn.question, at, instead);
    }

    stop() {
        if (this.running) this.running.abort();
    }

    clear() {
        this.stop();
        this.turns = [];
        this.forgotten = [];
        byId("turns").replaceChildren(byId("empty") || "");
        notice("");
        say("Cleared.");
    }

    busy(controller) {
        this.running = controller;
        byId("stop").hidden = !controller;
        byId("send").hidden = Boolean(controller);
        byId("turns").setAttribute("aria-busy", String(Boolean(controller)));
    }

    /** Keeps the end in sight for who is looking at it; once a frame, for it has the page laid out. */
    follow(always = false) {
        this.jump ||= always;
        this.following ||= requestAnimationFrame(() => {
            const page = document.scrollingElement;
            /* The end is where it was the last time: what came since is not in sight yet. */
            if (this.jump || this.end - page.scrollTop - page.clientHeight < 160) page.scrollTop = page.scrollHeight;
            this.end = page.scrollHeight;
            this.following = 0;
            this.jump = false;
        });
    }

    /* ---- recordings ---- */

    save(turn) {
        const {messages, prompt, diffusion: {steps, ...diffusion}, stream, stream_options, ...more} = turn.body;
        const {answer} = turn;
        const words = turn.question.toLowerCase().match(/[a-z0-9]+/g) || [];
        const name = [this.props.model.name, ...words.slice(0, 6)].join("-") + ".json";
        save(write({model: this.props.model, messages: messages || [{role: "user", content: prompt}],
                    options: {...more, diffusion}, stopIds: answer.stopIds, track: answer.track,
                    answer: {text: answer.text, reasoning: answer.reasoning, finish: answer.finish, ...answer.numbers}}), name);
    }

    /** Shows a recording behind the conversation, of which it is no part. */
    show(recording, name) {
        const answer = new Answer(recording.stopIds, recording.track);
        const last = recording.messages.filter((m) => m.role === "user").pop();
        answer.addText(recording.answer.text);
        if (recording.answer.reasoning) answer.addReasoning(recording.answer.reasoning);
        answer.numbers = recording.answer;
        answer.finish = recording.answer.finish;
        answer.view.live = false;
        answer.end();
        answer.choose("passes");
        const node = el("section", {class: "turn recording"},
                        el("p", {class: "quiet"}, `Recording ${name}, of ${recording.model.name} (${recording.model.family})`),
                        ...asked(last ? last.content : "", recording.options), answer.node);
        answer.action("Copy", () => copy(answer.text));
        answer.action("Close", () => {
            node.remove();
            byId("open").focus();
        });
        byId("turns").append(node);
        answer.view.show(0);
        answer.view.play();
        node.scrollIntoView();
        say(`Recording of ${recording.track.frames.length} passes opened.`);
    }
}
