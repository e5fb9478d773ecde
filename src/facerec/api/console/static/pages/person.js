// One person of the registry: what is known, and changed.

import { call, part } from "../api.js";
import { button, card, count, errorNote, facts, field, link, measure, moment, note, outcome, pageHead, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { dropZone, openPhoto, pasteInto } from "../photo.js";
import { refusal } from "../session.js";
import { remove } from "./people.js";

export async function show(view, { person: id, signal }) {
  const path = `faces/${part(id)}`;
  const why = refusal("write", "registry");
  let person = await call("GET", path, { signal });
  const known = h("div", { class: "card-body" });
  const told = h("div", { class: "stack tight", "aria-live": "polite" });
  const draw = () => replace(known, h("div", { class: "stack" }, facts([
    ["Pictures", count(person.embeddings)], ["Enrolled", moment(person.created_at)], ["Changed", moment(person.updated_at)], ["Version", person.version],
  ], { wide: true }), h("div", { class: "measures" }, person.qualities.map((quality, at) => measure(`Picture ${at + 1}`, quality, { bar: 40 })))));
  draw();
  const zone = dropZone({
    title: "More pictures", text: "Each is judged: sharp, well lit, frontal, one person, the same as before.", several: true, flat: true, refusal: why,
    take: async (files) => {
      replace(told, h("p", { class: "muted small" }, `Looking at ${files.length === 1 ? files[0].name : `${files.length} photos`} …`));
      try {
        const photos = await Promise.all(files.map(openPhoto));
        const done = await call("PUT", path, { form: { images: photos.map((photo) => photo.file) } });
        person = await call("GET", path);
        draw();
        replace(told, outcome(files, done.images));
      } catch (error) {
        replace(told, errorNote(error), error.images?.length ? outcome(files, error.images) : null);
      }
    },
  });
  pasteInto(zone, signal);
  replace(view,
    pageHead(id, null, { back: { href: "#/people", text: "People" }, actions: [
      why ? button("Camera", null, { sign: "camera", refusal: why }) : link("Camera", `#/enrol?person=${part(id)}&add=1`, { sign: "camera" }),
      button("Delete", async () => { if (await remove(id)) location.hash = "#/people"; }, { kind: "danger", sign: "trash", refusal: why }),
    ] }),
    h("div", { class: "stack" }, card("What is known", known), zone, told, metadataCard(path, () => person, (changed) => { person = changed; draw(); }, why)));
}

function metadataCard(path, person, changed, why) {
  const text = h("textarea", { class: "input", rows: "6", spellcheck: "false", readonly: Boolean(why) }, JSON.stringify(person().metadata, null, 2));
  const trouble = h("div", { "aria-live": "polite" });
  const save = button("Save", async () => {
    let metadata;
    try {
      metadata = JSON.parse(text.value || "{}");
      if (metadata === null || typeof metadata !== "object" || Array.isArray(metadata)) throw new TypeError("an object is needed");
    } catch (error) {
      replace(trouble, note("bad", "The metadata is no JSON object.", `Write it like {"team": "red"}. ${error.message}`));
      return;
    }
    try {
      await call("PUT", path, { json: { metadata, version: person().version } });
      changed(await call("GET", path));
      replace(trouble);
      toast("Saved.");
    } catch (error) {
      replace(trouble, errorNote(error));
    }
  }, { kind: "primary", refusal: why });
  return card("Metadata", h("div", { class: "card-body stack tight" },
    field("Kept with the person, as JSON", text, "At most 2048 characters. It is not sealed: put nothing secret there."), trouble,
    h("div", { class: "actions" }, save)));
}
