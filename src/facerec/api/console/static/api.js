// The service's REST door, as the pages use it: one way to ask, one form of errors.

const ROOT = new URL("../", document.baseURI);
const API = new URL("api/v1/", ROOT);
const KEPT = "facerec.key";

/** An error as the service tells it: code, message, and what would be right. */
export class ServiceError extends Error {
  constructor(status, body) {
    super(body.message);
    this.status = status;
    this.code = body.code;
    this.hint = body.hint;
    this.correlationId = body.correlation_id;
    this.images = body.images ?? [];
  }
}

/** The key of this tab; it is gone when the tab is closed. */
export const key = {
  get: () => sessionStorage.getItem(KEPT),
  set: (value) => sessionStorage.setItem(KEPT, value),
  forget: () => sessionStorage.removeItem(KEPT),
};

let refused = () => {};

/** What to do when the service takes the key no more. */
export function onRefusal(action) { refused = action; }

function headers(more = {}) {
  const kept = key.get();
  return kept ? { "X-API-Key": kept, ...more } : more;
}

async function send(method, address, { json, form, query, signal, quiet } = {}) {
  const url = new URL(address);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  let body;
  let type = {};
  if (form) {
    body = new FormData();
    for (const [name, value] of Object.entries(form)) {
      for (const each of Array.isArray(value) ? value : [value]) {
        if (each !== null && each !== undefined && each !== "") body.append(name, each, ...(each.name ? [each.name] : []));
      }
    }
  } else if (json !== undefined) {
    body = JSON.stringify(json);
    type = { "Content-Type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(url, { method, body, signal, headers: headers(type), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, {
      code: "Unreachable",
      message: "The service does not answer.",
      hint: "See whether it runs, and whether this machine reaches it; then try again.",
    });
  }
  if (!answer.ok) {
    const error = await readError(answer);
    if (error.status === 401 && !quiet) refused(error);
    throw error;
  }
  return answer;
}

async function readError(answer) {
  try {
    const body = await answer.json();
    if (body.code) return new ServiceError(answer.status, body);
  } catch { /* no JSON: something between answered */ }
  return new ServiceError(answer.status, {
    code: `HTTP ${answer.status}`,
    message: answer.statusText || "The service answered with an error.",
    hint: "Try again; if it stays so, ask whoever runs the service.",
  });
}

/** Ask the REST door; what it answers, null for nothing. */
export async function call(method, path, options) {
  const answer = await send(method, new URL(path, API), options);
  return answer.status === 204 ? null : answer.json();
}

/** A file that the REST door answers with. */
export async function fetchFile(path, name, options) {
  const blob = await (await send("GET", new URL(path, API), options)).blob();
  return new File([blob], name, { type: blob.type });
}

/** Each item of a listing, page after page, up to `most`. */
export async function all(path, member, { query, signal, most = 1000 } = {}) {
  const found = [];
  let next;
  do {
    const page = await call("GET", path, { query: { ...query, next_token: next }, signal });
    found.push(...page[member]);
    next = page.next_token;
  } while (next && found.length < most);
  return found;
}

/** What /health says; also when it says that something is away (503). */
export async function health(signal) {
  const answer = await fetch(new URL("health", ROOT), { signal, cache: "no-store", headers: headers() });
  return answer.json();
}

/** The text of /metrics; null where the service has none, or the key may not read it. */
export async function metrics(signal) {
  const answer = await fetch(new URL("metrics", ROOT), { signal, cache: "no-store", headers: headers() });
  return answer.ok ? answer.text() : null;
}

/** Server-sent events with a key, which EventSource can not send: calls `tell(name, data)` for each. */
export async function follow(path, tell, signal) {
  const answer = await send("GET", new URL(path, API), { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const blocks = waiting.split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const of = (field) => lines.filter((line) => line.startsWith(`${field}: `)).map((line) => line.slice(field.length + 2)).join("\n");
      if (of("data")) tell(of("event"), JSON.parse(of("data")));
    }
  }
}

/** A part of a path. */
export const part = encodeURIComponent;
