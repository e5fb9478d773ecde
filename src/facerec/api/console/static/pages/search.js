// Every face of a photo, looked for in a collection, among people, or in albums.

import { all, call } from "../api.js";
import { button, card, empty, errorNote, pageHead, pill, skeleton, table } from "../components.js";
import { announce, h, replace } from "../dom.js";
import { lookAt, matchList, threshold, whereToLook } from "../looking.js";
import { cutOut, dropZone, faceOf, openPhoto, pasteInto } from "../photo.js";
import { refusal } from "../session.js";

const ALBUMS = "albums:";

export async function show(view, { query, signal }) {
  const where = await whereToLook({ nowhere: null, signal });
  const albums = refusal("read", "all") ? [] : await all("albums", "albums", { signal });
  if (albums.length) {
    where.control.append(h("option", { value: ALBUMS }, "All albums"),
      ...albums.map((album) => h("option", { value: ALBUMS + album.album_id }, `Album ${album.title || album.album_id}`)));
  }
  const wanted = query.get("in") ?? "";
  if ([...where.control.options].some((option) => option.value === wanted)) where.control.value = wanted;
  const least = threshold();
  const result = h("div", { class: "results" });
  let photo = null;
  async function look() {
    if (!photo) return;
    replace(result, h("div", { class: "card" }, skeleton(5)));
    try {
      const found = await search(photo, where.control.value, Number(least.control.value), signal);
      replace(result, draw(photo, found, start));
      announce(`${found.length} faces were looked for.`);
    } catch (error) {
      if (error.name !== "AbortError") replace(result, zone, errorNote(error));
    }
  }
  const start = () => { photo = null; replace(result, zone); };
  const zone = dropZone({ title: "Drop a photo here", text: "Each face of it is looked for.", take: async ([file]) => {
    try {
      photo = await openPhoto(file);
      await look();
    } catch (error) {
      replace(result, zone, errorNote(error));
    }
  } });
  pasteInto(zone, signal);
  where.control.addEventListener("change", look);
  least.control.addEventListener("change", look);
  start();
  replace(view, pageHead("Search", "Find every face of a photo in a collection, among the people of the registry, or in albums."),
    h("div", { class: "stack" }, h("div", { class: "card card-body fields" }, where.element, least.element),
      where.control.options.length ? result : h("div", { class: "card" }, empty("search", "Nothing to search yet", "Make a collection, enrol people, or fill an album first."))));
}

async function search(photo, where, least, signal) {
  if (!where.startsWith(ALBUMS)) return lookAt(photo, { where, least, signal });
  const album = where.slice(ALBUMS.length);
  const found = await lookAt(photo, { where: "", least, signal });
  for (const each of found) {
    // The door looks for the largest face of a picture: so each face is sent as a picture of its own.
    try {
      const answer = await call("POST", "albums/search", { signal,
        form: { image: await cutOut(photo, each.face), album_ids: album || null, threshold: String(least), limit: "20" } });
      each.photos = answer.photos;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      each.error = error;
    }
  }
  return found;
}

function draw(photo, found, again) {
  const bar = h("div", { class: "actions" }, h("span", { class: "muted" }, `${photo.name}: ${found.length === 1 ? "one face" : `${found.length} faces`}`),
    button("Another photo", again, { kind: "small" }));
  if (!found.length) return [bar, h("div", { class: "card" }, empty("face", "No face found", "Choose a photo in which somebody looks at the camera."))];
  return [bar, found.map((each, at) => card(null, h("div", { class: "card-body" },
    h("div", { class: "found" }, faceOf(photo, each.face, { label: `Face ${at + 1}` }),
      h("div", { class: "stack tight" }, h("div", { class: "actions" }, h("h2", null, `Face ${at + 1}`), tell(each)), results(each))))))];
}

const tell = (each) => {
  const hits = (each.photos ?? each.matches).length;
  return pill(hits ? `${hits} found` : "Nobody found", hits ? "good" : "plain");
};

function results(each) {
  if (each.error) return errorNote(each.error);
  if (!each.photos) return each.matches.length ? matchList(each.matches) : h("p", { class: "muted small" }, "Nobody there is as similar as asked for.");
  if (!each.photos.length) return h("p", { class: "muted small" }, "No photo of the albums shows this person.");
  return table("Photos that show this person", [["Photo"], ["Album"], ["Similarity", "number"]], each.photos.map((one) => [
    one.external_id ?? one.source ?? one.image_id, h("a", { href: `#/albums/${encodeURIComponent(one.album_id)}` }, one.album_id), one.similarity.toFixed(1)]));
}
