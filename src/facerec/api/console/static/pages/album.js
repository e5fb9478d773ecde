// One album: filled, followed, and its people as a grid of faces.

import { call, follow, part } from "../api.js";
import { ask, button, card, check, count, counted, duration, empty, errorNote, field, fillLater, link, meter, note, pageHead, pill, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { dropZone, openPhoto, pasteInto } from "../photo.js";
import { refusal } from "../session.js";
import { faceLater, fetchSources, shelve, shelved } from "../shelf.js";
import { remove } from "./albums.js";

const MOST_TOGETHER = 8;
const MOST_BYTES = 10 * 1024 * 1024;

export async function show(view, { album: id, signal }) {
  const path = `albums/${part(id)}`;
  const why = refusal("write", id);
  const first = await call("GET", path, { signal });
  const progress = h("div", { class: "album-progress" });
  const told = h("div", { class: "stack tight", "aria-live": "polite" });
  const people = h("div");
  const failed = h("div");
  const hidden = check("Hidden people too", { onchange: () => drawPeople() });
  const peopleOf = () => call("GET", `${path}/people`, { query: { limit: 100, hidden: hidden.box.checked }, signal });
  const covers = async () => (await peopleOf()).people.map((person) => person.cover);
  const drawPeople = () => fillLater(people, async () => grid(await peopleOf(), path, id, why, { changed: drawPeople }));
  const refresh = async () => {
    const state = await call("GET", path, { signal });
    drawProgress(progress, state);
    await drawFailed(failed, path, state, refresh, why, signal);
    if (state.state === "WORKING") watch();
  };
  let watching = false;
  async function watch() {
    if (watching) return;
    watching = true;
    try {
      await follow(`${path}/events`, (name, state) => {
        if (name === "deleted") location.hash = "#/albums";
        else drawProgress(progress, state);
      }, signal);
    } catch (error) {
      if (error.name === "AbortError") return;
    }
    watching = false;
    await Promise.all([refresh(), whenGrouped(path, drawPeople, signal)]);
  }
  const zone = dropZone({
    title: "Add photos", text: "They are looked at and not kept; faces are cut in this tab, from your files.", several: true, flat: true, refusal: why,
    take: async (files) => {
      shelve(files);
      await upload(path, files, told);
      await Promise.all([refresh(), whenGrouped(path, drawPeople, signal)]);
    },
  });
  pasteInto(zone, signal);
  const album = first.album;
  replace(view,
    pageHead(album.title || album.album_id, album.title ? album.album_id : null, { back: { href: "#/albums", text: "Albums" }, actions: [
      link("Find a guest", `#/search?in=${part(`albums:${id}`)}`, { sign: "search" }),
      button("Add addresses", async () => { if (await addresses(path)) refresh(); }, { sign: "plus", refusal: why }),
      button("Delete", async () => { if (await remove(album)) location.hash = "#/albums"; }, { kind: "danger", sign: "trash", refusal: why }),
    ] }),
    h("div", { class: "stack" }, zone, told, card("Progress", progress), failed, card("People", people, {
      actions: [hidden, ownPhotos(drawPeople), fromSources(id, covers, drawPeople, signal), button("Group anew", async () => {
        await call("POST", `${path}/people/recluster`);
        await whenGrouped(path, drawPeople, signal);
      }, { kind: "small", sign: "refresh", refusal: why })],
    })));
  drawProgress(progress, first);
  await Promise.all([drawPeople(), drawFailed(failed, path, first, refresh, why, signal)]);
  if (first.state === "WORKING") watch();
}

function drawProgress(place, state) {
  const total = state.waiting + state.done + state.failed + state.cancelled;
  const figure = (value, name) => h("span", null, h("b", null, count(value)), ` ${name}`);
  const kind = { WORKING: "accent", DONE: "good" }[state.state] ?? "fair";
  replace(place, h("div", { class: "counts" },
    figure(state.done, "looked at"), figure(state.waiting, "waiting"), figure(state.failed, "failed"), figure(state.faces, "faces"),
    state.state === "WORKING" && state.images_per_second > 0 && figure(state.images_per_second, "a second"),
    state.seconds_left !== null && state.waiting > 0 && h("span", null, `${duration(state.seconds_left)} left`),
    pill(total ? state.state.toLowerCase() : "empty", total ? kind : "")),
  meter(total ? (100 * (total - state.waiting)) / total : 0, state.failed ? "fair" : ""),
  state.listings.map((each) => h("p", { class: "small muted" }, `s3://${each.bucket}/${each.prefix}: ${counted(each.images, "photo")} of ${counted(each.objects, "object")}`,
    each.reason && ` (${each.reason})`)));
}

async function drawFailed(place, path, state, changed, why, signal) {
  if (!state.failed) return replace(place);
  const { images } = await call("GET", `${path}/images`, { query: { state: "FAILED", limit: 50 }, signal });
  return replace(place, card("Photos that failed", table("Photos that failed", [["Photo"], ["Reason"], ["Tries", "number"]],
    images.map((image) => [image.source, image.reason, count(image.attempts)])),
  { actions: [button("Try again", async () => { await call("POST", `${path}/retry`); await changed(); }, { kind: "small", sign: "refresh", refusal: why })] }));
}

async function upload(path, files, told) {
  const line = h("p", { class: "muted small" });
  replace(told, line);
  const batches = [[]];
  let bytes = 0;
  for (const [at, file] of files.entries()) {
    line.textContent = `Reading ${at + 1} of ${files.length} …`;
    try {
      const photo = await openPhoto(file);
      photo.bitmap.close();
      URL.revokeObjectURL(photo.url);
      if (batches.at(-1).length >= MOST_TOGETHER || bytes + photo.file.size > MOST_BYTES) { batches.push([]); bytes = 0; }
      batches.at(-1).push(new File([photo.file], file.name, { type: photo.file.type }));
      bytes += photo.file.size;
    } catch (error) {
      told.append(errorNote(error));
    }
  }
  let [done, faces] = [0, 0];
  for (const batch of batches.filter((each) => each.length)) {
    line.textContent = `${done} of ${files.length} photos looked at …`;
    try {
      for (const one of await call("POST", `${path}/uploads`, { form: { files: batch } })) {
        faces += one.faces;
        if (one.code) told.append(note("bad", `${one.name}: ${one.message}`, one.code));
      }
    } catch (error) {
      told.append(errorNote(error));
    }
    done += batch.length;
  }
  line.replaceWith(note("good", `${counted(done, "photo")} looked at, ${counted(faces, "face")} found.`));
}

function addresses(path) {
  const text = h("textarea", { class: "input", rows: "6", required: true, placeholder: "s3://photos/1042/0001.jpg\ns3://photos/1042/" });
  return ask({
    title: "Add addresses", agree: "Add",
    text: "A line each: s3://bucket/key, a web address of an allowed host, or s3://bucket/prefix/ for all photos below it.",
    fields: [field("Addresses", text)],
    action: async () => {
      const lines = text.value.split("\n").map((line) => line.trim()).filter(Boolean);
      const images = lines.filter((line) => !line.endsWith("/"));
      const sums = [];
      if (images.length) sums.push(await call("POST", `${path}/images`, { json: { images } }));
      for (const line of lines.filter((each) => each.endsWith("/"))) {
        const [bucket, ...rest] = line.replace(/^s3:\/\//, "").split("/");
        sums.push(await call("POST", `${path}/images`, { json: { prefix: { bucket, prefix: rest.join("/") } } }));
      }
      toast(`${counted(sums.reduce((sum, each) => sum + each.new, 0), "photo")} added; listings go on in the background.`);
    },
  });
}

/** A button that takes photos of your own for the faces to be cut from. */
export function ownPhotos(changed) {
  const chooser = h("input", { type: "file", accept: "image/*", multiple: true, class: "unseen", tabindex: "-1", "aria-label": "Photos to cut faces from",
    onchange: () => { shelve([...chooser.files]); chooser.value = ""; changed(); } });
  return h("span", null, chooser, button(shelved() ? "More photos to cut faces from" : "Show faces from my photos", () => chooser.click(), { kind: "small", sign: "upload" }));
}

/** A button that has photos fetched from S3 or their addresses for the faces to be cut from. records: resolves to them. */
export function fromSources(album, records, changed, signal) {
  return button("Fetch photos from their sources", async () => {
    const missing = await fetchSources(album, await records(), { signal });
    toast(missing ? `${counted(missing, "photo")} could not be fetched.` : "The photos are in this tab.", missing ? "warning" : "check");
    await changed();
  }, { kind: "small", sign: "next", refusal: refusal("write", album) });
}

/** Draw the people once a grouping that was asked for is through; and at once, as they are. */
async function whenGrouped(path, draw, signal) {
  await draw();
  for (let look = 0; look < 60 && !signal.aborted; look += 1) {
    const { pending } = await call("GET", `${path}/people`, { query: { limit: 1 }, signal });
    if (!pending) break;
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
  if (!signal.aborted) await draw();
}

function grid({ people, pending, next_token: next }, path, id, why, { changed }) {
  if (!people.length) {
    return empty("people", pending ? "The photos are being looked through" : "Nobody yet",
      pending ? "People appear here as soon as their faces are grouped." : "Add photos: everybody in them is found and shown here, those in most photos first.");
  }
  const picked = new Set();
  const bar = h("div", { class: "selection", hidden: true });
  const drawBar = () => {
    bar.hidden = picked.size === 0;
    replace(bar, h("span", null, `${picked.size} chosen`),
      picked.size > 1 && button("They are one person", () => act(() => call("POST", `${path}/people/merge`, { json: { person_ids: [...picked] } }), "Merged."), { kind: "small primary", refusal: why }),
      button("Hide", () => act(() => Promise.all([...picked].map((person) => call("PATCH", `${path}/people/${person}`, { json: { hidden: true } }))), "Hidden."), { kind: "small", refusal: why }),
      button("Choose none", () => { picked.clear(); changed(); }, { kind: "small quiet" }));
  };
  const act = async (work, text) => {
    try {
      await work();
      toast(text);
      await changed();
    } catch (error) {
      bar.append(errorNote(error));
    }
  };
  return [pending && h("p", { class: "card-note" }, "Photos were added that are not looked through yet."),
    h("ul", { class: "gallery" }, people.map((person, at) => tile(person, at, id, picked, drawBar))), bar,
    next && h("p", { class: "card-note" }, "The hundred people in most photos are shown.")];
}

function tile(person, at, id, picked, drawBar) {
  const name = person.name ?? `Person ${at + 1}`;
  const box = check(null, { "aria-label": `Choose ${name}`, onchange: (event) => {
    picked[event.target.checked ? "add" : "delete"](person.person_id);
    element.classList.toggle("picked", event.target.checked);
    drawBar();
  } });
  box.classList.add("pick");
  const href = `#/albums/${part(id)}/${part(person.person_id)}`;
  const element = h("li", { class: "person" },
    h("a", { href, tabindex: "-1", "aria-hidden": "true" }, faceLater(person.cover, { label: name })), box,
    h("div", null, h("a", { class: "name", href, style: { display: "block" } }, name), h("span", { class: "muted small" }, counted(person.photos, "photo"), person.hidden && ", hidden")));
  return element;
}
