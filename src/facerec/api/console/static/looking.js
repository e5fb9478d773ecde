// Where faces are looked for: a collection, the people of the registry, albums; and what was found as one form.

import { all, call, part } from "./api.js";
import { field, meter, select } from "./components.js";
import { h } from "./dom.js";
import { caller, refusal } from "./session.js";

export const NOWHERE = "";
export const PEOPLE = "people:";

/** The choice of where to look; `chosen` is its first value. */
export async function whereToLook({ chosen = NOWHERE, nowhere = "Nowhere: only find faces", signal } = {}) {
  const collections = await all("collections", "collections", { query: { limit: 1000 }, signal });
  const options = [];
  if (nowhere) options.push([NOWHERE, nowhere]);
  if (!refusal("read", "registry")) options.push([PEOPLE, "People of the registry"]);
  for (const each of collections) {
    if (each.collection_id === caller.registry_collection) continue;
    options.push([each.collection_id, `${each.collection_id} (${each.faces} faces)`]);
  }
  const control = select(options);
  if (options.some(([value]) => value === chosen)) control.value = chosen;
  return { control, element: field("Look in", control) };
}

/** The least similarity, as a slider. */
export function threshold(value = 80) {
  const told = h("output", { class: "numbers" }, String(value));
  const control = h("input", { type: "range", min: "50", max: "100", step: "1", value: String(value), oninput: () => { told.textContent = control.value; } });
  const element = field("Least similarity", control);
  element.firstChild.append(" ", told);
  return { control, element };
}

const near = (a, b) => ["left", "top", "width", "height"].every((side) => Math.abs(a[side] - b[side]) < 1e-4);

/**
 * What is known of each face of a photo: [{face, matches: [{name, similarity, href, detail}]}].
 * where: a collection, PEOPLE, or nowhere.
 */
export async function lookAt(photo, { where, least, attributes = false, signal }) {
  const { faces } = await call("POST", "detect-faces", { form: { file: photo.file, attributes: attributes ? "true" : null }, signal });
  const found = faces.map((face) => ({ face, matches: [] }));
  if (where === NOWHERE || !faces.length) return found;
  const answers = where === PEOPLE ? await identify(photo, signal) : await searchAll(photo, where, least, signal);
  for (const { face, matches } of answers) {
    const known = found.find((each) => near(each.face, face));
    if (known) known.matches = matches;
  }
  return found;
}

async function identify(photo, signal) {
  const { faces } = await call("POST", "identify", { form: { image: photo.file }, signal });
  return faces.map((each) => ({
    face: each.face,
    matches: each.match ? [{ name: each.person_id, similarity: each.similarity, href: `#/people/${part(each.person_id)}`,
      detail: `1 of ${Math.max(1, Math.round(100 / Math.max(1e-9, 100 - each.confidence)))} strangers comes as near` }] : [],
  }));
}

async function searchAll(photo, collection, least, signal) {
  const { faces } = await call("POST", `collections/${part(collection)}/search-all-faces`,
    { form: { file: photo.file, similarity_threshold: String(least), max_faces: "5" }, signal });
  return faces.map((each) => ({ face: each.face, matches: each.matches.map((match) => ({
    name: match.face.user_id ?? match.face.external_image_id ?? match.face.face_id.slice(0, 8),
    similarity: match.similarity, detail: `cosine ${match.cosine.toFixed(3)}`,
  })) }));
}

/** The matches of a face as a list. */
export function matchList(matches) {
  return h("ul", { class: "matches" }, matches.map((match) => h("li", { class: "match" },
    match.href ? h("a", { href: match.href }, match.name) : h("span", { title: match.name }, match.name),
    h("span", { class: "numbers" }, `${match.similarity.toFixed(1)}`),
    meter(match.similarity, match.similarity >= 99 ? "good" : ""),
    match.detail && h("span", { class: "muted small" }, match.detail))));
}
