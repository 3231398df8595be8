/* The page: starts everything, and what belongs to no other file. */
import {Failure, getJson, setKey} from "./api.js";
import {Chat} from "./chat.js";
import {byId, notice} from "./dom.js";
import {readFile} from "./recording.js";
import {Settings, showSettings, startTheme} from "./settings.js";
import {legend} from "./view.js";

const question = byId("question");
let chat = null;

/** Resolves when the user gave a key. */
function askKey(wrong = false) {
    const dialog = byId("key-dialog");
    byId("key-wrong").hidden = !wrong;
    byId("key").value = "";
    dialog.showModal();
    return new Promise((resolve, reject) => {
        byId("key-form").onsubmit = (event) => {
            event.preventDefault();
            setKey(byId("key").value);
            dialog.onclose = null;
            dialog.close();
            resolve();
        };
        dialog.onclose = () => reject(new Failure("Without a key the server does not answer. Load the page anew to give one."));
    });
}

async function properties() {
    for (let wrong = false;; wrong = true) {
        try {
            return await getJson("props");
        } catch (error) {
            if (error.status !== 401) throw error;
            await askKey(wrong);
        }
    }
}

function describe({model}) {
    const blocks = model.attn_block ? `, blocks of ${model.attn_block}` : "";
    byId("model").textContent = `${model.name} \u00b7 ${model.family}${blocks}, context of ${model.n_ctx} tokens`;
    document.title = `${model.name} \u2013 DiffuLex Edge`;
    if (!model.has_chat_template)
        byId("hint").textContent = "This model has no chat template: it continues the text that you send.";
}

/** As high as its text, up to a third of the window. */
function fit() {
    question.style.height = "auto";
    question.style.height = `${Math.min(question.scrollHeight + 2, window.innerHeight / 3)}px`;
}

function send() {
    const text = question.value.trim();
    if (!chat || !text || !chat.ask(text)) return; /* the text stays where it cannot be sent */
    question.value = "";
    fit();
    question.focus(); /* the button that was pressed gave way to another */
}

async function openFile(input) {
    const [file] = input.files;
    input.value = "";
    if (!file || !chat) return;
    notice("");
    try {
        chat.show(await readFile(file), file.name);
    } catch (error) {
        notice(error.message);
    }
}

function listen() {
    byId("composer").addEventListener("submit", (event) => {
        event.preventDefault();
        send();
    });
    question.addEventListener("input", fit);
    question.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        send();
    });
    document.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || byId("key-dialog").open || !chat) return;
        if (chat.running) chat.stop();
        else showSettings(false);
    });
    byId("stop").addEventListener("click", () => {
        chat.stop();
        question.focus();
    });
    byId("clear").addEventListener("click", () => {
        if (chat) chat.clear();
        question.focus();
    });
    byId("settings-button").addEventListener("click", () => showSettings(byId("settings").hidden));
    byId("open").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", (event) => openFile(event.target));
}

async function start() {
    startTheme();
    byId("legend").replaceChildren(...legend());
    listen();
    try {
        const props = await properties();
        describe(props);
        chat = new Chat(props, new Settings(props), () => askKey(true));
    } catch (error) {
        notice(error.message);
        if (!(error instanceof Failure)) throw error;
    }
}

start();
