// Somebody of an album: their photos, their name, and what is put right.

import { all, call, part } from "../api.js";
import { button, card, check, count, counted, errorNote, field, input, pageHead, pill, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { refusal } from "../session.js";
import { faceLater } from "../shelf.js";
import { fromSources, ownPhotos } from "./album.js";

export async function show(view, { album: id, person: personId, signal }) {
  const path = `albums/${part(id)}/people/${part(personId)}`;
  const why = refusal("write", id);
  const [person, photos] = await Promise.all([
    call("GET", path, { signal }), all(`${path}/photos`, "photos", { query: { limit: 500 }, signal, most: 500 })]);
  const trouble = h("div", { "aria-live": "polite" });
  const back = `#/albums/${part(id)}`;
  const attempt = async (work, text, then) => {
    try {
      const done = await work();
      toast(text);
      replace(trouble);
      await then?.(done);
    } catch (error) {
      replace(trouble, errorNote(error));
    }
  };
  const again = () => { replace(view); return show(view, { album: id, person: personId, signal }); };
  const name = input({ value: person.name ?? "", maxlength: "255", placeholder: "Aunt May", readonly: Boolean(why) });
  const naming = h("form", { class: "card card-body fields", onsubmit: (event) => {
    event.preventDefault();
    attempt(() => call("PATCH", path, { json: { name: name.value.trim(), version: person.version } }), "Named.", again);
  } }, field("Name", name), h("div", { class: "actions" }, button("Save", null, { kind: "primary", type: "submit", refusal: why }),
    button(person.hidden ? "Show" : "Hide", () => attempt(() => call("PATCH", path, { json: { hidden: !person.hidden } }), person.hidden ? "Shown." : "Hidden.", again), { refusal: why })));
  const picked = new Set();
  const bar = h("div", { class: "selection", hidden: true });
  const faces = () => ({ json: { face_ids: [...picked] } });
  const drawBar = () => {
    bar.hidden = picked.size === 0;
    replace(bar, h("span", null, `${count(picked.size)} chosen`),
      button("Not this person", () => attempt(() => call("POST", `${path}/not`, faces()), "They are not this person any more.", () => (picked.size === photos.length ? (location.hash = back) : again())), { kind: "small primary", refusal: why }),
      picked.size < photos.length && button("Another person", () => attempt(() => call("POST", `${path}/split`, faces()), "They are a person of their own.", (made) => { location.hash = `${back}/${part(made.person_id)}`; }), { kind: "small", refusal: why }));
  };
  const list = h("ul", { class: "photos-of" });
  const draw = () => replace(list, photos.map((photo) => {
    const label = photo.external_id ?? photo.source ?? photo.image_id;
    const box = check(null, { "aria-label": `Choose the face in ${label}`, checked: picked.has(photo.face_id), onchange: (event) => {
      picked[event.target.checked ? "add" : "delete"](photo.face_id);
      tile.classList.toggle("picked", event.target.checked);
      drawBar();
    } });
    box.classList.add("pick");
    const tile = h("li", { class: "person" }, faceLater(photo, { label: `Face in ${label}` }), box,
      h("div", null, h("span", { class: "name", title: label }, label), h("div", { class: "muted small" }, `confidence ${photo.confidence.toFixed(1)} %`)));
    return tile;
  }));
  draw();
  replace(view,
    pageHead(person.name ?? "Without a name", `In ${counted(person.photos, "photo")} of this album.`, { back: { href: back, text: "The album" },
      actions: [person.confirmed && pill("confirmed by somebody", "good"), person.hidden && pill("hidden", "fair")] }),
    h("div", { class: "stack" }, naming, trouble, card("Photos", h("div", null, list, bar), { actions: [ownPhotos(draw), fromSources(id, async () => photos, async () => draw(), signal)] })));
}
