/* The settings: what a request says besides its messages, made of what /props lists, and how the page looks. */
import {byId, el, recall, remember} from "./dom.js";

/* Options of the table that have a place of their own here, or that a request says in another way. */
const APART = new Set(["preset", "max_new_tokens", "seed"]);
const PRESETS = {exact: "the best answer that the model has", balanced: "nearly as good, several times faster",
                 fast: "the fastest that is still useful"};
const FORMS = [["", "any text"], ["json_object", "JSON"], ["json_schema", "JSON of a schema"], ["regex", "regular expression"]];
const PACES = [["0", "as it comes"], ["100", "at least 0.1 s a pass"], ["300", "at least 0.3 s a pass"]];

/** Whether the model's decoders have an option: those of the algorithm that was chosen, or of its family. */
export function offered(option, standard, chosen) {
    if (option.algorithms === "all") return true;
    const names = option.algorithms.split(", ");
    return chosen ? names.includes(chosen) : names.some((n) => n.split(".")[0] === standard.split(".")[0]);
}

/** The value of a field as JSON has it; undefined where it is empty. */
export function valueOf(kind, text) {
    if (text === "") return undefined;
    if (kind === "int" || kind === "float") return Number(text);
    return kind === "bool" ? text === "true" : text;
}

/** What the options of a request bind its answer to, in words; null: nothing. */
export function boundTo({regex, json_schema: schema, response_format: format}) {
    if (typeof regex === "string") return regex;
    if (typeof schema === "string") return schema;
    return format ? "JSON" : null;
}

export class Settings {
    constructor(props) {
        this.props = props;
        this.standard = (props.options.find((o) => o.name === "algorithm") || {}).default || "";
        this.rows = new Map(); /* name: {node, input, kind, option, place} */
        this.kept = {};
        try {
            this.kept = JSON.parse(recall("localStorage", `settings.${props.model.name}`)) || {};
        } catch { /* somebody else's */ }
        this.build();
    }

    /** A labelled field that is kept; `place` says where in the request its value goes, null: nowhere. */
    field(name, label, help, kind, input, place, option) {
        const id = `set-${name}`;
        input.id = id;
        input.setAttribute("aria-describedby", `${id}-wrong ${id}-help`);
        if (typeof this.kept[name] === "string") input.value = this.kept[name];
        input.addEventListener("input", () => this.changed());
        const wrong = el("p", {class: "error", id: `${id}-wrong`});
        const node = el("div", {class: "field"}, el("label", {for: id}, label), input, wrong,
                        el("p", {class: "quiet", id: `${id}-help`}, help));
        this.rows.set(name, {node, input, wrong, kind, option, place});
        return node;
    }

    /** A field that is there, and has to be filled in, for one form of answers only; as wide as the window. */
    formField(name, label, help, input) {
        const node = this.field(name, label, help, "text", input, "request");
        node.classList.add("wide", "code");
        Object.assign(this.rows.get(name), {form: name});
        return node;
    }

    decodeField(option) {
        const words = option.kind === "bool" ? ["true", "false"] : option.words ? option.words.split("|") : null;
        let input;
        if (words) {
            const fitting = option.name !== "algorithm" ? words
                : words.filter((w) => w === this.standard || w.split(".")[0] === this.standard.split(".")[0] ||
                                      (w === "ar.generate" && this.props.model.attn_block > 0));
            input = el("select", {}, el("option", {value: ""}, option.default ? `default: ${option.default}` : "default"),
                       ...fitting.map((w) => el("option", {value: w}, w)));
        } else if (option.kind === "int" || option.kind === "float") {
            input = el("input", {type: "number", step: option.kind === "int" ? "1" : "any", min: option.min, max: option.max,
                                 placeholder: option.default});
        } else {
            input = el("input", {type: "text", placeholder: option.default, spellcheck: "false"});
        }
        return this.field(option.name, option.name.replace(/_/g, " "), option.help, option.kind, input, "diffusion", option);
    }

    build() {
        const {model, presets, options} = this.props;
        const select = (...choices) => el("select", {}, ...choices.map(([v, text]) => el("option", {value: v}, text)));
        const pace = select(...PACES);
        Object.assign(pace, {id: "set-pace"}).setAttribute("aria-describedby", "set-pace-help");
        pace.value = recall("localStorage", "pace") ?? "100";
        pace.addEventListener("input", () => remember("localStorage", "pace", pace.value));
        const chat = model.has_chat_template;
        const form = el("form", {onsubmit: (e) => e.preventDefault(), novalidate: true},
            chat && this.field("system", "System prompt", "Stands in front of the conversation.", "text",
                               el("textarea", {rows: "2"}), null),
            this.field("preset", "Preset", "Algorithm and acceptance rules that belong together; other options win over it.",
                       "word", select(["", "none"], ...presets.map((p) => [p, `${p}: ${PRESETS[p] || ""}`])), "diffusion"),
            this.field("max_tokens", "Longest answer",
                       `Tokens, 1 to ${model.n_ctx}; fewer where the conversation leaves less of the context.`, "int",
                       el("input", {type: "number", step: "1", min: "1", max: model.n_ctx,
                                    placeholder: model.attn_block ? "what is left of the context" : "128"}), "request"),
            this.field("seed", "Seed", "The same seed draws the same answer; it matters above temperature 0.", "int",
                       el("input", {type: "number", step: "1", min: "0", placeholder: "another one each time"}), "request"),
            chat && this.field("enable_thinking", "Reasoning", "For models whose template can switch it.", "bool",
                               select(["", "as the template has it"], ["true", "on"], ["false", "off"]), "request"),
            el("div", {class: "field"}, el("label", {for: "set-pace"}, "Passes of a running answer"),
               pace, el("p", {class: "quiet", id: "set-pace-help"}, "Small models are faster than an eye.")),
            this.field("form", "Form of the answer", "It is bound to that as a whole.", "word", select(...FORMS), null),
            this.formField("json_schema", "JSON schema", "The answer is an instance of it.",
                           el("textarea", {rows: "4", spellcheck: "false", placeholder: '{"enum": ["yes", "no"]}'})),
            this.formField("regex", "Regular expression", "The whole answer matches it.",
                           el("input", {type: "text", spellcheck: "false", autocapitalize: "none", placeholder: "yes|no"})),
            el("details", {class: "wide", "aria-label": "Options of the decoder"}, el("summary", {}, "Options of the decoder"),
               el("div", {class: "grid"}, ...options.filter((o) => !APART.has(o.name)).map((o) => this.decodeField(o)))),
            el("p", {class: "wide"}, el("button", {type: "button", onclick: () => this.reset()}, "Back to the defaults")));
        byId("settings").replaceChildren(form);
        this.changed();
    }

    changed() {
        const chosen = this.rows.get("algorithm")?.input.value || "";
        for (const row of this.rows.values()) {
            if (row.option) row.node.hidden = !offered(row.option, this.standard, chosen);
            if (row.form) row.node.hidden = !(row.input.required = row.form === this.form);
            row.input.removeAttribute("aria-invalid");
            row.wrong.textContent = "";
        }
        this.kept = {};
        for (const [name, row] of this.rows) if (row.input.value !== "") this.kept[name] = row.input.value;
        remember("localStorage", `settings.${this.props.model.name}`, JSON.stringify(this.kept));
    }

    reset() {
        for (const row of this.rows.values()) row.input.value = "";
        this.changed();
    }

    /** Whether a field has a value that cannot be; the first one is shown. */
    wrong() {
        const [name, row] = [...this.rows].find(([, {input, node}]) => !node.hidden && !input.checkValidity()) || [];
        if (name) this.refuse(name, row.input.validationMessage);
        return Boolean(name);
    }

    /** Shows the field of a parameter, as errors name it, and what is wrong with it. */
    refuse(param, message) {
        const row = this.rows.get((param || "").replace(/^diffusion\./, ""));
        if (!row || row.node.hidden) return;
        showSettings(true);
        row.input.closest("details")?.setAttribute("open", "");
        row.input.setAttribute("aria-invalid", "true");
        row.wrong.textContent = message;
        row.input.focus();
    }

    /** What the answer is bound to: a name of FORMS. */
    get form() {
        return this.rows.get("form").input.value;
    }

    get system() {
        return this.rows.get("system")?.input.value.trim() || "";
    }

    /** What a request gets: its own members, and `diffusion`. */
    request() {
        const request = this.form === "json_object" ? {response_format: {type: "json_object"}} : {}, diffusion = {};
        for (const [name, row] of this.rows) {
            const value = row.node.hidden ? undefined : valueOf(row.kind, row.input.value);
            if (value === undefined || !row.place) continue;
            (row.place === "diffusion" ? diffusion : request)[name] = value;
        }
        return {...request, diffusion};
    }
}

export function showSettings(open) {
    if (!open && byId("settings").contains(document.activeElement)) byId("settings-button").focus();
    byId("settings").hidden = !open;
    byId("settings-button").setAttribute("aria-expanded", String(open));
}

/* ---- dark and light ---- */

const THEMES = {"": "System", light: "Light", dark: "Dark"};

function setTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    byId("theme").textContent = THEMES[theme];
    byId("theme").setAttribute("aria-label", `${THEMES[theme]} colours`);
    byId("theme").title = "Colours: of the system, light, dark";
}

export function startTheme() {
    const names = Object.keys(THEMES);
    let theme = recall("localStorage", "theme") || "";
    if (!names.includes(theme)) theme = "";
    setTheme(theme);
    byId("theme").addEventListener("click", () => {
        theme = names[(names.indexOf(theme) + 1) % names.length];
        setTheme(theme);
        remember("localStorage", "theme", theme || null);
    });
}
