/* Making elements. Text becomes text nodes only, so nothing that a model says is ever read as markup. */

/** el("button", {class: "x", onclick: f, hidden: true}, "text", child ...) */
export function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
        else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.filter((c) => c !== null && c !== undefined));
    return node;
}

export const byId = (id) => document.getElementById(id);

/** What screen readers are told; the same again, too. */
export function say(text) {
    byId("said").replaceChildren(el("p", {}, text));
}

/** One line above the question, until the next one. */
export function notice(text) {
    byId("notice").textContent = text;
}

/** A store that may be missing: private windows refuse it. */
export function remember(store, name, value) {
    try {
        if (value === null) window[store].removeItem(`diffulex-edge.${name}`);
        else window[store].setItem(`diffulex-edge.${name}`, value);
    } catch { /* it is forgotten with the page */ }
}

export function recall(store, name) {
    try {
        return window[store].getItem(`diffulex-edge.${name}`);
    } catch {
        return null;
    }
}
