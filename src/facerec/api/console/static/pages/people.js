// The people of the registry.

import { call, part } from "../api.js";
import { ask, button, card, count, empty, link, moment, pageHead, pager, pill, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { refusal } from "../session.js";

export async function show(view) {
  const why = refusal("write", "registry");
  const enrol = () => (why ? button("Enrol somebody", null, { kind: "primary", sign: "enrol", refusal: why })
    : link("Enrol somebody", "#/enrol", { kind: "primary", sign: "enrol" }));
  const list = pager(async (token) => {
    const page = await call("GET", "persons", { query: { limit: 50, next_token: token } });
    return { rows: page.persons, next: page.next_token };
  }, (rows) => rows.length ? draw(rows, () => list.reload()) : empty("people", "Nobody is enrolled yet",
    "People are known again from a few pictures of each. Enrol somebody with the camera, or from photos.", enrol()));
  replace(view, pageHead("People", "Who is known by name. Each is known by embeddings of pictures; the pictures are not kept.", { actions: [enrol()] }),
    card(null, list));
}

function draw(rows, changed) {
  return table("People", [["Person"], ["Pictures", "number"], ["Metadata"], ["Changed"], ["", "end"]], rows.map((each) => [
    h("a", { class: "main", href: `#/people/${part(each.person_id)}` }, each.person_id),
    count(each.embeddings), metadata(each.metadata), h("span", { class: "muted" }, moment(each.updated_at)),
    button("Delete", async () => { if (await remove(each.person_id)) changed(); },
      { kind: "small quiet danger", sign: "trash", label: `Delete ${each.person_id}`, refusal: refusal("write", "registry") }),
  ]));
}

function metadata(told) {
  const pairs = Object.entries(told);
  if (!pairs.length) return h("span", { class: "muted" }, "–");
  return h("span", { class: "actions" }, pairs.slice(0, 3).map(([name, value]) => pill(`${name}: ${typeof value === "object" ? "…" : value}`, "plain")));
}

export const remove = (id) => ask({
  title: `Delete ${id}?`, text: "All that is known of this person goes: pictures' embeddings, metadata. That can not be taken back.", agree: "Delete", danger: true,
  action: async () => {
    await call("DELETE", `faces/${part(id)}`);
    toast(`${id} is deleted.`);
  },
});
