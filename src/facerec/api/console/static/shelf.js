// Photos that somebody chose for the console to cut faces from: the service keeps none. They stay in this tab.

import { fetchFile, part } from "./api.js";
import { h, icon } from "./dom.js";
import { faceOf, openPhoto } from "./photo.js";

const MOST_OPEN = 24;
const files = new Map();
const open = new Map();

const plain = (name) => name.split(/[/:]/).at(-1).toLowerCase().replace(/[^a-z0-9.]/g, "_");

/** Put photos on the shelf. */
export function shelve(chosen) {
  for (const file of chosen) files.set(plain(file.name), file);
}

export const shelved = () => files.size;

/** Put photos on the shelf that an album has by reference, a few at a time. Resolves to how many could not be had. */
export async function fetchSources(album, records, { signal }) {
  const wanted = new Map(records.filter((each) => each?.number && each.source && !each.source.startsWith("upload:") && !fileOf(each)).map((each) => [each.number, each]));
  const waiting = [...wanted.values()];
  let missing = 0;
  const fetchNext = async () => {
    for (let each = waiting.shift(); each; each = waiting.shift()) {
      try {
        const file = await fetchFile(`albums/${part(album)}/images/${each.number}/source`, each.source, { signal });
        files.set(plain(each.source), file);
      } catch (error) {
        if (error.name === "AbortError") throw error;
        missing += 1;
      }
    }
  };
  await Promise.all([1, 2, 3].map(fetchNext));
  return missing;
}

function fileOf(record) {
  for (const name of [record.source, record.external_id]) {
    if (name && files.has(plain(name))) return files.get(plain(name));
  }
  return null;
}

/** The photo that a face is in; null where it is not on the shelf, or no picture. */
async function photoOf(record) {
  const file = fileOf(record);
  if (!file) return null;
  if (!open.has(file)) {
    open.set(file, openPhoto(file).catch(() => null));
    if (open.size > MOST_OPEN) {
      const [[oldest, photo]] = open;
      open.delete(oldest);
      photo.then((each) => { if (each) { each.bitmap.close(); URL.revokeObjectURL(each.url); } });
    }
  }
  return open.get(file);
}

/** A face as soon as its photo is read; until then, and without one, a sign for a face. record: box and source. */
export function faceLater(record, { label }) {
  const place = h("span", { class: "face large", role: "img", "aria-label": label }, icon("face"));
  if (record && fileOf(record)) {
    photoOf(record).then((photo) => { if (photo) place.replaceWith(faceOf(photo, record, { large: true, label })); });
  }
  return place;
}
