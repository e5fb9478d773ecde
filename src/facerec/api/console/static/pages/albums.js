// The albums: what there is, made and deleted.

import { call, part } from "../api.js";
import { ask, button, card, count, empty, field, input, moment, pageHead, pager, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { refusal } from "../session.js";

export async function show(view) {
  const why = refusal("write", "all");
  const make = () => button("New album", () => create(), { kind: "primary", sign: "plus", refusal: why });
  const list = pager(async (token) => {
    const page = await call("GET", "albums", { query: { limit: 50, next_token: token } });
    return { rows: page.albums, next: page.next_token };
  }, (rows) => rows.length ? table("Albums", [["Album"], ["Photos", "number"], ["Made"], ["", "end"]], rows.map((each) => [
    h("div", null, h("a", { class: "main", href: `#/albums/${part(each.album_id)}` }, each.title || each.album_id), each.title && h("div", { class: "mono muted" }, each.album_id)),
    count(each.images), h("span", { class: "muted" }, moment(each.created_at)),
    button("Delete", async () => { if (await remove(each)) list.reload(); }, { kind: "small quiet danger", sign: "trash", label: `Delete ${each.title || each.album_id}`, refusal: why })]))
    : empty("albums", "No albums yet", "An album is a set of photographs: everybody in it is found, without being told who is who, and every guest finds their photos by a selfie.", make()));
  replace(view, pageHead("Albums", "Photographs, and who is in them.", { actions: [make()] }), card(null, list));
}

async function create() {
  const title = input({ required: true, maxlength: "255", placeholder: "Ann and Bob" });
  const id = input({ pattern: "[a-zA-Z0-9_.\\-:]{1,255}", maxlength: "255", placeholder: "wedding-1042" });
  const made = await ask({
    title: "New album", agree: "Make it",
    fields: [field("Title", title), field("Id", id, "Letters, digits and _ . - : without spaces. Empty: a new one.")],
    action: () => call("POST", "albums", { json: { title: title.value.trim(), album_id: id.value.trim() || null } }),
  });
  if (made) location.hash = `#/albums/${part(made.album_id)}`;
}

/** Ask, and delete an album. */
export const remove = (album) => ask({
  title: `Delete ${album.title || album.album_id}?`, agree: "Delete", danger: true,
  text: "Its faces, its people and what was said of them go with it. The photographs stay where they are. That can not be taken back.",
  action: async () => {
    await call("DELETE", `albums/${part(album.album_id)}`);
    toast("The album is deleted.");
  },
});
