// One collection: its figures, and its faces page by page.

import { call, part } from "../api.js";
import { ask, button, card, check, count, empty, errorNote, facts, link, moment, note, pageHead, pager, pill, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { dropZone, openPhoto, pasteInto } from "../photo.js";
import { refusal } from "../session.js";
import { remove } from "./collections.js";

export async function show(view, { collection, signal }) {
  const path = `collections/${part(collection)}`;
  const found = await call("GET", path, { signal });
  const figures = h("div", { class: "card-body" });
  const refresh = async () => drawFigures(figures, await call("GET", path, { signal }));
  drawFigures(figures, found);
  const list = pager(async (token) => {
    const page = await call("GET", `${path}/faces`, { query: { limit: 50, next_token: token }, signal });
    return { rows: page.faces, next: page.next_token };
  }, (rows) => rows.length ? draw(rows, path, collection, () => { list.reload(); refresh(); })
    : empty("face", "No faces yet", "Drop photos above, or have an application store them with IndexFaces or POST index-faces."));
  const told = h("div", { class: "stack tight", "aria-live": "polite" });
  const zone = dropZone({
    title: "Store faces", text: "Drop photos here. Their faces are stored, the photos are not.", several: true, flat: true,
    refusal: refusal("write", collection),
    take: async (files) => { await store(path, files, told); list.reload(); refresh(); },
  });
  pasteInto(zone, signal);
  replace(view,
    pageHead(collection, null, { back: { href: "#/collections", text: "Collections" }, actions: [
      link("Analyse a photo", `#/analyse?in=${part(collection)}`, { sign: "analyse" }),
      button("Delete", async () => {
        if (await remove(await call("GET", path))) location.hash = "#/collections";
      }, { kind: "danger", sign: "trash", refusal: refusal("admin", collection) }),
    ] }),
    h("div", { class: "stack" }, zone, told, card("What it holds", figures), card("Faces", list)));
}

function drawFigures(place, found) {
  replace(place, facts([
    ["Faces", count(found.faces)], ["People", count(found.users)], ["Model", found.model_version],
    ["Made", moment(found.created_at)], ["Contract", h("span", { class: "mono" }, found.contract_id.slice(0, 16))],
  ], { wide: true }));
}

async function store(path, files, told) {
  for (const file of files) {
    const line = h("p", { class: "muted small" }, `Looking at ${file.name} …`);
    told.append(line);
    try {
      const photo = await openPhoto(file);
      const name = file.name.replace(/[^a-zA-Z0-9_.\-:]/g, "_").slice(-255);
      const done = await call("POST", `${path}/index-faces`, { form: { file: photo.file, external_image_id: name } });
      const left = done.unindexed.length ? `, ${done.unindexed.length} left out for their quality` : "";
      line.replaceWith(note(done.faces.length ? "good" : "fair", `${file.name}: ${done.faces.length} stored${left}.`));
    } catch (error) {
      line.replaceWith(h("div", null, h("p", { class: "small" }, file.name), errorNote(error)));
    }
  }
}

function draw(rows, path, collection, changed) {
  const chosen = new Set();
  const why = refusal("write", collection);
  const act = button("Delete the chosen", async () => {
    const ids = [...chosen];
    if (await ask({
      title: `Delete ${ids.length === 1 ? "one face" : `${ids.length} faces`}?`, text: "That can not be taken back.", agree: "Delete", danger: true,
      action: async () => {
        const done = await call("POST", `${path}/delete-faces`, { json: { face_ids: ids } });
        toast(`${done.deleted.length} deleted${done.failures.length ? `, ${done.failures.length} kept: they are a person's` : ""}.`);
      },
    })) changed();
  }, { kind: "small danger", sign: "trash", refusal: why });
  act.hidden = !why;
  const bar = h("div", { class: "card-head choice" }, h("span", { class: "muted small" }, "Oldest first"), act);
  return [bar, table(`Faces of ${collection}`, [["Face"], ["Photo"], ["Person"], ["Confidence", "number"], ["Stored"]], rows.map((face) => {
    const box = check(h("span", { class: "mono" }, face.face_id.slice(0, 8)), { "aria-label": `Choose face ${face.face_id}`, onchange: (event) => {
      chosen[event.target.checked ? "add" : "delete"](face.face_id);
      act.hidden = !chosen.size && !why;
    } });
    return [box, h("span", null, face.external_image_id ?? h("span", { class: "muted" }, "without a name"),
      face.source && h("span", { class: "muted small" }, ` ${face.source}`)),
    face.user_id ? pill(face.user_id, "plain accent") : h("span", { class: "muted" }, "–"),
    `${face.confidence.toFixed(1)} %`, h("span", { class: "muted" }, moment(face.stored_at),
      face.expires_at && ` · until ${moment(face.expires_at)}`)];
  }))];
}
