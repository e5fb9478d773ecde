// The parts that pages are made of.

import { announce, h, icon, newId, replace } from "./dom.js";

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const moments = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export const count = (value) => numbers.format(value);
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const moment = (text) => (text ? moments.format(new Date(text)) : "never");

/** A length of time in the words of people. */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** The head of a page: its name, what it is for, and what can be done. */
export function pageHead(title, text, { actions = [], back } = {}) {
  return h("header", { class: "page-head" },
    h("div", null,
      back && h("a", { class: "crumb", href: back.href }, icon("back"), back.text),
      h("h1", { tabindex: "-1" }, title),
      text && h("p", null, text)),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}

/**
 * A button. action may take its time: the button shows that it is at work meanwhile.
 * refusal: why it is not allowed, which is told in place of doing it.
 */
export function button(text, action, { kind = "", sign, refusal, label, type = "button" } = {}) {
  const element = h("button", {
    type, class: `button ${kind}`, "aria-label": label,
    "aria-disabled": refusal ? "true" : null, title: refusal ?? null,
  }, sign && icon(refusal ? "lock" : sign), text);
  element.addEventListener("click", async (event) => {
    if (refusal) {
      event.preventDefault();
      toast(`Not allowed. ${refusal}`, "lock");
      return;
    }
    if (!action || element.getAttribute("aria-busy") === "true") return;
    element.setAttribute("aria-busy", "true");
    try {
      await action(event);
    } finally {
      element.removeAttribute("aria-busy");
    }
  });
  return element;
}

export const link = (text, href, { kind = "", sign } = {}) =>
  h("a", { class: `button ${kind}`, href }, sign && icon(sign), text);

/** A labelled control; help stands below it. */
export function field(label, control, help) {
  control.id ||= newId("field");
  const told = help ? newId("help") : null;
  if (told) control.setAttribute("aria-describedby", told);
  return h("div", { class: "field" },
    h("label", { for: control.id }, label), control, help && h("span", { class: "help", id: told }, help));
}

export const input = (attributes) => h("input", { class: "input", autocomplete: "off", spellcheck: "false", ...attributes });

export const select = (options, attributes) => h("select", { class: "input", ...attributes },
  options.map(([value, text]) => h("option", { value }, text)));

export function check(text, attributes) {
  const box = h("input", { type: "checkbox", ...attributes });
  const element = h("label", { class: "check" }, box, text);
  element.box = box;
  return element;
}

export const pill = (text, kind = "") => h("span", { class: `pill ${kind}` }, text);

/** A bar with its figure: a share of a whole, 0 to 100. */
export function measure(name, value, { bar = 0, text } = {}) {
  const kind = value >= bar ? (bar ? "good" : "") : "bad";
  return h("div", { class: "measure" },
    h("span", null, name), h("span", { class: "numbers" }, text ?? `${count(value)}`), meter(value, kind));
}

export const meter = (value, kind = "") => h("div", { class: `bar ${kind}`, "aria-hidden": "true" },
  h("span", { style: { "--share": String(Math.max(0, Math.min(1, value / 100))) } }));

/** What stands where nothing is yet: says what would be, and what to do. */
export function empty(sign, title, text, ...actions) {
  return h("div", { class: "empty" }, icon(sign), h("h2", null, title), h("p", null, text),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}

export const skeleton = (lines = 4) => h("div", { class: "skeleton", role: "status", "aria-label": "Loading" },
  Array.from({ length: lines }, () => h("i")));

/** A note within a page: accent, good, fair or bad. */
export function note(kind, title, text, more) {
  const sign = { bad: "warning", fair: "warning", good: "check" }[kind] ?? "face";
  return h("div", { class: `note ${kind}`, role: kind === "bad" ? "alert" : null },
    icon(sign), h("div", null, title && h("strong", null, title), text && h("p", null, text), more));
}

/** An error as the service told it, or as it came about here. */
export function errorNote(error) {
  if (error.name === "AbortError") return h("div");
  const told = error.code
    ? note("bad", error.message, error.hint, h("p", { class: "id" }, error.code,
      error.correlationId && [" · request ", h("span", { class: "mono" }, error.correlationId)]))
    : note("bad", "The console failed.", String(error.message));
  return told;
}

/** What a page shows whose key may not see it. */
export const notAllowed = (why) => h("div", { class: "card" },
  empty("lock", "Not allowed", `${why} Sign in with another key to use this page.`));

/** Fill a place with what comes of some work: first its shape, then the result, or the error. */
export async function fillLater(place, work, { lines = 4 } = {}) {
  replace(place, skeleton(lines));
  try {
    replace(place, await work());
  } catch (error) {
    if (error.name !== "AbortError") replace(place, h("div", { class: "card-body" }, errorNote(error)));
  }
}

/**
 * A table; columns: [name, kind], cells: nodes or texts. The first cell of a row names it. On a phone each row
 * becomes a block, so the roles are told beside the elements.
 */
export function table(caption, columns, rows) {
  const cell = (content, at) => h("td", { class: columns[at][1], role: "cell", dataset: { name: columns[at][0] } }, content);
  return h("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table" }, h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(([name, kind]) =>
        h("th", { scope: "col", class: kind, role: "columnheader" }, name || h("span", { class: "unseen" }, "Actions"))))),
      h("tbody", { role: "rowgroup" }, rows.map((cells) => h("tr", { role: "row" }, cells.map(cell))))));
}

/** Names and values, one below the other; wide: beside each other. */
export const facts = (pairs, { wide = false } = {}) => h("dl", { class: wide ? "facts wide" : "facts" },
  pairs.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => [h("dt", null, name), h("dd", null, value)])
    .map((pair) => (wide ? h("div", null, pair) : pair)));

export function card(title, body, { actions, note: under } = {}) {
  const id = newId("card");
  return h("section", { class: "card", "aria-labelledby": title ? id : null },
    title && h("div", { class: "card-head" }, h("h2", { id }, title), actions && h("div", { class: "actions" }, actions)),
    body, under && h("p", { class: "card-note" }, under));
}

export function toast(text, sign = "check") {
  let place = document.querySelector(".toasts");
  if (!place) document.body.append(place = h("div", { class: "toasts" }));
  const element = h("div", { class: "toast" }, icon(sign), text);
  place.append(element);
  announce(text);
  setTimeout(() => element.remove(), 5000);
}

/**
 * Ask in a dialog; does `action` on agreement and shows its error there. Resolves to its result, null without.
 * fields: nodes between text and buttons. danger: for what can not be taken back.
 */
export function ask({ title, text, agree, fields = [], action, danger = false, close = "Cancel" }) {
  return new Promise((resolve) => {
    const trouble = h("div", { hidden: true });
    const id = newId("dialog");
    const go = h("button", { type: "submit", class: `button primary ${danger ? "danger" : ""}` }, agree);
    const dialog = h("dialog", { "aria-labelledby": id },
      h("form", { method: "dialog" },
        h("div", { class: "stack tight" }, h("h2", { id }, title), text && h("p", { class: "muted" }, text)),
        fields, trouble,
        h("div", { class: "actions" },
          h("button", { type: "button", class: "button", onclick: () => dialog.close() }, close), agree && go)));
    let result = null;
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      if (go.getAttribute("aria-busy") === "true") return;
      go.setAttribute("aria-busy", "true");
      trouble.hidden = true;
      try {
        result = (await action?.()) ?? true;
        dialog.close();
      } catch (error) {
        replace(trouble, errorNote(error)).hidden = false;
      } finally {
        go.removeAttribute("aria-busy");
      }
    });
    dialog.addEventListener("close", () => { dialog.remove(); resolve(result); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Choose one of several views: [name, text]; calls `show(name)`. */
export function tabs(label, choices, show, chosen = choices[0][0]) {
  const buttons = choices.map(([name, text]) => h("button", {
    type: "button", role: "tab", "aria-selected": String(name === chosen), tabindex: name === chosen ? "0" : "-1",
    onclick: (event) => take(event.currentTarget, name),
  }, text));
  function take(element, name) {
    for (const each of buttons) {
      each.setAttribute("aria-selected", String(each === element));
      each.tabIndex = each === element ? 0 : -1;
    }
    element.focus();
    show(name);
  }
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    take(buttons[at], choices[at][0]);
  });
  return list;
}

/** Pages of a listing: `load(token)` gives {rows, next}; shows them, and buttons to go back and on. */
export function pager(load, draw) {
  const place = h("div", { "aria-live": "off" });
  const tokens = [null];
  async function show() {
    await fillLater(place, async () => {
      const page = await load(tokens.at(-1));
      const several = tokens.length > 1 || page.next;
      return [draw(page.rows), several && h("nav", { class: "pager", "aria-label": "Pages" },
        button("Earlier", () => { tokens.pop(); return show(); }, { kind: "small", sign: "back", refusal: tokens.length > 1 ? null : "This is the first page." }),
        h("span", null, `Page ${tokens.length}`),
        button("Later", () => { tokens.push(page.next); return show(); }, { kind: "small", sign: "next", refusal: page.next ? null : "This is the last page." }))];
    });
  }
  place.reload = show;
  show();
  return place;
}

/** What became of each picture of an enrolment. */
export const outcome = (files, images) => images.map((image) => image.accepted
  ? note("good", `${files[image.index]?.name ?? `Picture ${image.index + 1}`}: taken`, `Quality ${image.quality}`)
  : note("fair", `${files[image.index]?.name ?? `Picture ${image.index + 1}`}: ${image.message}`,
    image.findings.map((finding) => finding.advice).join(" ")));

/** That a person is enrolled. */
export const enrolled = (person) => note("good", `${person.person_id} is enrolled.`,
  `Known by ${person.embeddings === 1 ? "one picture" : `${person.embeddings} pictures`}.`,
  h("div", { class: "actions" }, link("See the person", `#/people/${encodeURIComponent(person.person_id)}`, { kind: "small" })));
