// The collections: what there is, made and deleted.

import { call, part } from "../api.js";
import { ask, button, card, count, empty, field, input, moment, pageHead, pager, pill, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { refusal } from "../session.js";

export async function show(view) {
  const make = () => button("New collection", async () => { if (await create()) list.reload(); },
    { kind: "primary", sign: "plus", refusal: refusal("admin", "all") });
  const list = pager(async (token) => {
    const page = await call("GET", "collections", { query: { limit: 50, next_token: token } });
    return { rows: page.collections, next: page.next_token };
  }, (rows) => rows.length ? draw(rows, () => list.reload()) : empty("collections", "No collections yet",
    "A collection holds the faces that photos are searched for: guests, staff, the members of a club.", make()));
  replace(view, pageHead("Collections", "Sets of faces that photos are searched for. AWS clients see the same ones.", { actions: [make()] }),
    card(null, list));
}

function draw(rows, changed) {
  return table("Collections", [["Name"], ["Faces", "number"], ["People", "number"], ["Model"], ["Made"], ["", "end"]], rows.map((each) => [
    h("a", { class: "main", href: `#/collections/${part(each.collection_id)}` }, each.collection_id),
    count(each.faces), count(each.users), pill(each.model_version, "plain"), h("span", { class: "muted" }, moment(each.created_at)),
    button("Delete", async () => { if (await remove(each)) changed(); },
      { kind: "small quiet danger", sign: "trash", label: `Delete ${each.collection_id}`, refusal: refusal("admin", each.collection_id) }),
  ]));
}

function create() {
  const name = input({ required: true, pattern: "[a-zA-Z0-9_.\\-]{1,255}", maxlength: "255", placeholder: "guests" });
  return ask({
    title: "New collection", agree: "Make it",
    fields: [field("Name", name, "Letters, digits and _ . - without spaces.")],
    action: async () => {
      await call("POST", "collections", { json: { collection_id: name.value.trim() } });
      toast(`The collection ${name.value.trim()} is there.`);
    },
  });
}

/** Ask, and delete a collection. Its name has to be typed where it holds faces. */
export function remove(collection) {
  const { collection_id: id, faces } = collection;
  const typed = input({ required: true, pattern: id.replaceAll(".", "\\.") });
  return ask({
    title: `Delete ${id}?`, agree: "Delete", danger: true,
    text: faces ? `${count(faces)} faces and ${count(collection.users)} people go with it. That can not be taken back.` : "It holds no faces.",
    fields: faces ? [field(`Type ${id} to go on`, typed)] : [],
    action: async () => {
      await call("DELETE", `collections/${part(id)}`);
      toast(`The collection ${id} is deleted.`);
    },
  });
}
