// Enrolling somebody: frame by frame from the camera, with what to do next, or from photos.

import { call } from "../api.js";
import { enrolByCamera } from "../camera.js";
import { check, enrolled, errorNote, field, input, outcome, pageHead, select, tabs } from "../components.js";
import { h, replace } from "../dom.js";
import { dropZone, openPhoto, pasteInto } from "../photo.js";

export async function show(view, { query, signal }) {
  const id = input({ required: true, pattern: "[a-zA-Z0-9_.\\-:]{1,128}", maxlength: "128", placeholder: "employee-1042", value: query.get("person") ?? "" });
  const review = select([["", "As the service is set"], ["standard", "Standard"], ["strict", "Strict"], ["off", "Off: a face is enough"]]);
  const adds = check("Add to somebody who is enrolled", { checked: query.get("add") === "1" });
  const place = h("div");
  let stop = () => {};
  const wishes = () => {
    if (!id.value.trim() || !id.checkValidity()) {
      id.setAttribute("aria-invalid", "true");
      id.focus();
      throw Object.assign(new Error("The person has no name yet."), { code: "InvalidParameter", hint: "Give an id of letters, digits and _ . - : without spaces." });
    }
    id.removeAttribute("aria-invalid");
    return { person_id: id.value.trim(), add: adds.box.checked, review: review.value || null };
  };
  const ways = { camera: () => { stop = enrolByCamera(place, wishes, signal); }, photos: () => byPhotos(place, wishes, signal) };
  const way = tabs("Way of enrolling", [["camera", "Camera"], ["photos", "Photos"]], (name) => { stop(); stop = () => {}; ways[name](); });
  replace(view,
    pageHead("Enrol", "A person is known again from a few good pictures: from the front, and from both sides a little."),
    h("div", { class: "stack" },
      h("div", { class: "card card-body fields" }, field("Person", id, "Your id of the person."), field("How strictly pictures are judged", review, "What is refused, and why, is told."), adds),
      way, place));
  ways.camera();
}

function byPhotos(place, wishes, signal) {
  const told = h("div", { class: "stack tight", "aria-live": "polite" });
  const zone = dropZone({
    title: "Drop photos of one person", text: "Three or more, one person alone in each. They are judged one by one, and not kept.", several: true,
    take: async (files) => {
      try {
        const { person_id: id, add, review } = wishes();
        replace(told, h("p", { class: "muted small" }, `Looking at ${files.length === 1 ? "one photo" : `${files.length} photos`} …`));
        const images = (await Promise.all(files.map(openPhoto))).map((photo) => photo.file);
        const done = add ? await call("PUT", `faces/${encodeURIComponent(id)}`, { form: { images, review } })
          : await call("POST", "register", { form: { person_id: id, images, review } });
        replace(told, enrolled(done.person), outcome(files, done.images));
      } catch (error) {
        replace(told, errorNote(error), error.images?.length ? outcome(files, error.images) : null);
      }
    },
  });
  pasteInto(zone, signal);
  replace(place, h("div", { class: "stack" }, zone, told));
}
