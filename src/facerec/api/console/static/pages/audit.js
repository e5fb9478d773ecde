// The audit log: who enrolled, searched and deleted whom.

import { call } from "../api.js";
import { button, card, count, empty, field, input, moment, pageHead, pager, pill, table } from "../components.js";
import { h, replace } from "../dom.js";

export async function show(view) {
  const person = input({ type: "search", placeholder: "everybody", maxlength: "255" });
  const list = h("div", { "aria-live": "polite" });
  const draw = () => replace(list, pager(async (token) => {
    const page = await call("GET", "audit", { query: { limit: 50, person: person.value.trim() || null, next_token: token } });
    return { rows: page.entries, next: page.next_token };
  }, (rows) => rows.length ? entries(rows) : empty("audit", "Nothing is written", "Changes and searches are written down, unless FACEREC_AUDIT is off.")));
  const look = h("form", { class: "card card-body fields", onsubmit: (event) => { event.preventDefault(); draw(); } },
    field("About", person, "A user, person or external image id. The log has its keyed hash alone."),
    button("Look", null, { type: "submit", sign: "search" }));
  replace(view, pageHead("Audit", "Who enrolled, searched and deleted whom, and when. Entries can not be changed; facerec audit verify proves it."),
    h("div", { class: "stack" }, look, card(null, list)));
  draw();
}

function entries(rows) {
  return table("Entries", [["When"], ["Key"], ["What"], ["Collection"], ["Faces", "number"], ["People", "number"], ["Outcome"]], rows.map((each) => [
    moment(each.at), h("div", null, h("span", { class: "mono" }, each.key), h("div", { class: "muted small" }, each.client)),
    h("div", null, each.operation, each.access_key && h("div", { class: "mono muted small" }, each.access_key)),
    each.collection ?? h("span", { class: "muted" }, "–"), count(each.face_count), count(each.people_count),
    pill(each.outcome, each.outcome === "ok" ? "good" : "bad")]));
}
