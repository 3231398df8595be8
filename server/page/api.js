/* Talking to the server: JSON, streams of events, the key, and what went wrong as one kind of error. Addresses are relative to
 * the page, so that it works behind a path of a proxy. */
import {recall, remember} from "./dom.js";

/** What the server refused, or that it was not there. `status` is 0 where nothing came back. */
export class Failure extends Error {
    constructor(message, {status = 0, code = null, param = null, retrySeconds = 0} = {}) {
        super(message);
        this.status = status;
        this.code = code;
        this.param = param;
        this.retrySeconds = retrySeconds;
    }
}

export function setKey(key) {
    remember("sessionStorage", "key", key);
}

async function ask(path, body, signal) {
    const key = recall("sessionStorage", "key");
    const headers = {...(key ? {Authorization: `Bearer ${key}`} : {}), ...(body ? {"Content-Type": "application/json"} : {})};
    let response;
    try {
        response = await fetch(new URL(path, document.baseURI),
                               {method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal});
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Failure("The server does not answer. Is it still running?");
    }
    if (response.ok) return response;
    let error = {};
    try {
        error = (await response.json()).error || {};
    } catch { /* a proxy's own page */ }
    throw new Failure(error.message || `The server answered with status ${response.status}.`,
                      {status: response.status, code: error.code, param: error.param,
                       retrySeconds: Number(response.headers.get("Retry-After")) || 0});
}

export async function getJson(path) {
    return (await ask(path)).json();
}

/** Lines of a body as they come, without their ends. */
async function* linesOf(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
        const {done, value} = await reader.read();
        rest += done ? decoder.decode() : decoder.decode(value, {stream: true});
        const lines = rest.split("\n");
        rest = lines.pop();
        yield* lines.map((line) => line.replace(/\r$/, ""));
        if (done) return;
    }
}

/** The events of a stream, parsed. Fails when the server says so, and when it ends without saying that it is done. */
export async function* events(path, body, signal) {
    const response = await ask(path, body, signal);
    try {
        for await (const line of linesOf(response.body)) {
            if (!line.startsWith("data:")) continue; /* comments keep the connection open */
            const data = line.slice(5).trim();
            if (data === "[DONE]") return;
            const value = JSON.parse(data);
            if (value.error) throw new Failure(value.error.message, {status: 503});
            yield value;
        }
    } catch (error) {
        if (error instanceof Failure || error.name === "AbortError") throw error;
        throw new Failure("The connection to the server broke.");
    }
    throw new Failure("The server ended the answer before it was whole.");
}
