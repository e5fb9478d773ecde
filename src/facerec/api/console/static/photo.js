// Photographs in the browser: taken in, shown with boxes on them, and cut. None leaves the page but to the service.

import { h, icon, newId } from "./dom.js";
import { button } from "./components.js";

const LARGEST = 5 * 1024 * 1024;
const LONGEST_SIDE = 2560;
const KINDS = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff";

/** A photo that the page holds: its file for the service, its pixels for the eye. */
export async function openPhoto(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw Object.assign(new Error(`${file.name || "The file"} is no picture that this browser can show.`), {
      code: "InvalidImage", hint: "Choose a JPEG, PNG, WebP, GIF or BMP.",
    });
  }
  const sent = file.size > LARGEST ? await smaller(bitmap, file.name) : file;
  return { name: file.name || "pasted picture", file: sent, bitmap, width: bitmap.width, height: bitmap.height, url: URL.createObjectURL(file) };
}

async function smaller(bitmap, name) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new File([await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 })], name || "photo.jpg", { type: "image/jpeg" });
}

/** The place that a face is cut from, in pixels: its box with a margin, square, within the photo. */
function around(photo, box, margin) {
  const side = Math.min(
    Math.max(box.width * photo.width, box.height * photo.height) * (1 + 2 * margin), photo.width, photo.height);
  const within = (middle, length) => Math.max(0, Math.min(length - side, middle - side / 2));
  return {
    side,
    x: within((box.left + box.width / 2) * photo.width, photo.width),
    y: within((box.top + box.height / 2) * photo.height, photo.height),
  };
}

/** A face cut from a photo, as a picture; a sign for a face where there is no photo. */
export function faceOf(photo, box, { large = false, label = "" } = {}) {
  const kind = `face ${large ? "large" : ""}`;
  if (!photo || !box) return h("span", { class: kind, "aria-hidden": "true" }, icon("face"));
  const canvas = h("canvas", { class: kind, width: large ? 240 : 112, height: large ? 240 : 112, role: "img", "aria-label": label || "Face" });
  const { x, y, side } = around(photo, box, 0.25);
  canvas.getContext("2d").drawImage(photo.bitmap, x, y, side, side, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A face with much around it as a file of its own, so that the service can find it again. */
export async function cutOut(photo, box) {
  const { x, y, side } = around(photo, box, 0.6);
  const canvas = new OffscreenCanvas(Math.round(side), Math.round(side));
  canvas.getContext("2d").drawImage(photo.bitmap, x, y, side, side, 0, 0, canvas.width, canvas.height);
  return new File([await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 })], "face.jpg", { type: "image/jpeg" });
}

const per = (value) => `${value * 100}%`;

/**
 * A photo with boxes on it; each is a button. faces: {box, points, text, known}. Element has `choose(index)`.
 * chosen: called with the index of the face that somebody takes.
 */
export function photoWithFaces(photo, faces, chosen) {
  const boxes = faces.map((face, at) => h("button", {
    type: "button", class: `box ${face.known ? "known" : ""}`, "aria-pressed": "false",
    "aria-label": `Face ${at + 1}: ${face.text}`,
    style: { left: per(face.box.left), top: per(face.box.top), width: per(face.box.width), height: per(face.box.height) },
    onclick: () => chosen(at),
  }, h("span", { class: `tag ${face.box.top < 0.06 ? "below" : ""}` }, face.text)));
  const points = faces.flatMap((face, at) => (face.points ?? []).map((point) => h("span", {
    class: "point", hidden: true, dataset: { face: String(at) }, style: { left: per(point.x), top: per(point.y) },
  })));
  const figure = h("div", { class: "photo" },
    h("img", { src: photo.url, width: photo.width, height: photo.height, alt: `${photo.name}, with ${faces.length} faces marked` }),
    points, boxes);
  figure.choose = (index) => {
    boxes.forEach((box, at) => box.setAttribute("aria-pressed", String(at === index)));
    points.forEach((point) => { point.hidden = point.dataset.face !== String(index); });
  };
  return figure;
}

/** A place to drop, choose or paste photos. take: called with the files. */
export function dropZone({ title, text, take, several = false, flat = false, refusal }) {
  const chooser = h("input", { type: "file", accept: KINDS, multiple: several, class: "unseen", tabindex: "-1", id: newId("file"), "aria-label": title,
    onchange: () => { give([...chooser.files]); chooser.value = ""; } });
  const give = (files) => {
    const pictures = files.filter((file) => file.type.startsWith("image/") || file.type === "");
    if (pictures.length && !refusal) take(several ? pictures : pictures.slice(0, 1));
  };
  const zone = h("div", { class: `drop ${flat ? "flat" : ""}`,
    ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
    ondragleave: (event) => { if (!zone.contains(event.relatedTarget)) zone.classList.remove("over"); },
    ondrop: (event) => { event.preventDefault(); zone.classList.remove("over"); give([...event.dataTransfer.files]); },
  }, icon("upload"), h("div", null, h("h2", null, title), text && h("p", null, text)),
  h("div", { class: "actions" }, button(several ? "Choose photos" : "Choose a photo", () => chooser.click(), { kind: "primary", refusal })), chooser);
  zone.paste = (event) => give([...(event.clipboardData?.files ?? [])]);
  return zone;
}

/** Listen for pasted pictures as long as a page is shown. */
export function pasteInto(zone, signal) {
  document.addEventListener("paste", zone.paste, { signal });
}
