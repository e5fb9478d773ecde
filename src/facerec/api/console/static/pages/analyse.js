// A photo, its faces on it, and who they are.

import { button, count, empty, errorNote, facts, measure, pageHead, pill, skeleton } from "../components.js";
import { announce, h, replace, svg } from "../dom.js";
import { lookAt, matchList, NOWHERE, threshold, whereToLook } from "../looking.js";
import { dropZone, faceOf, openPhoto, pasteInto, photoWithFaces } from "../photo.js";

export async function show(view, { query, signal }) {
  const where = await whereToLook({ chosen: query.get("in") ?? NOWHERE, signal });
  const least = threshold();
  const result = h("div");
  let photo = null;
  const look = async () => {
    if (!photo) return;
    await draw(result, photo, { where: where.control.value, least: Number(least.control.value), signal }, other);
  };
  const take = async ([file]) => {
    try {
      photo = await openPhoto(file);
      await look();
    } catch (error) {
      replace(result, start, errorNote(error));
    }
  };
  const start = dropZone({ title: "Drop a photo here", text: "or choose one, or paste it. The service looks at it and keeps nothing.", take });
  pasteInto(start, signal);
  const other = () => { photo = null; replace(result, start); };
  where.control.addEventListener("change", look);
  least.control.addEventListener("change", look);
  replace(result, start);
  replace(view,
    pageHead("Analyse", "See what the service sees in a photo: faces, how good they are, and whom they match."),
    h("div", { class: "stack" }, h("div", { class: "card card-body fields" }, where.element, least.element), result));
}

async function draw(place, photo, options, other) {
  const list = h("div", null, skeleton(6));
  const stage = h("div", { class: "card stage" }, photoWithFaces(photo, [], () => {}), under(photo, other));
  replace(place, h("div", { class: "split" }, stage, h("section", { class: "card", "aria-label": "Faces" }, list)));
  let found;
  try {
    found = await lookAt(photo, { ...options, attributes: true });
  } catch (error) {
    if (error.name !== "AbortError") replace(list, h("div", { class: "card-body" }, errorNote(error)));
    return;
  }
  announce(`${found.length} faces found.`);
  if (!found.length) {
    replace(list, empty("face", "No face found", "Nobody looks out of this photo, or faces are too small, too dark or turned away."));
    return;
  }
  const rows = found.map(({ face, matches }, at) => row(photo, face, matches, at, options.where !== NOWHERE, () => choose(at)));
  const figure = photoWithFaces(photo, found.map(({ face, matches }, at) => ({
    box: face, points: face.landmarks, known: matches.length > 0, text: matches[0]?.name ?? String(at + 1),
  })), choose);
  function choose(index) {
    figure.choose(index);
    rows.forEach((each, at) => each.open(at === index));
  }
  replace(stage, figure, under(photo, other));
  replace(list, h("div", { class: "card-head" }, h("h2", null, found.length === 1 ? "One face" : `${found.length} faces`),
    h("span", { class: "muted small" }, "largest first")), h("ul", { class: "faces" }, rows));
  choose(0);
}

const under = (photo, other) => h("div", { class: "under" },
  h("span", null, `${photo.name} · ${photo.width} × ${photo.height}`), button("Another photo", other, { kind: "small" }));

function row(photo, face, matches, at, looked, chosen) {
  const best = matches[0];
  const detail = h("div", { class: "face-detail", hidden: true }, details(face, matches, looked));
  const head = h("button", { type: "button", class: "face-row", "aria-expanded": "false", onclick: chosen },
    faceOf(photo, face, { label: `Face ${at + 1}` }),
    h("span", { class: "who-is" }, h("strong", null, best?.name ?? (looked ? "Nobody known" : `Face ${at + 1}`)),
      h("span", { class: "muted small" }, `confidence ${face.confidence.toFixed(1)} %`)),
    looked && (best ? pill(`${best.similarity.toFixed(1)}`, "good") : pill("No match", "plain")));
  const element = h("li", null, head, detail);
  element.open = (open) => {
    element.classList.toggle("chosen", open);
    head.setAttribute("aria-expanded", String(open));
    detail.hidden = !open;
  };
  return element;
}

function details(face, matches, looked) {
  const said = face.attributes;
  const attribute = (one, words) => one && `${words[String(one.value)] ?? one.value} (${count(one.confidence)} %)`;
  return [
    looked && (matches.length ? matchList(matches) : h("p", { class: "muted small" }, "Nobody there is as similar as asked for.")),
    h("div", { class: "measures" },
      measure("Sharpness", face.sharpness), measure("Brightness", face.brightness), measure("Confidence", face.confidence)),
    h("div", { class: "pose" }, head(face.pose),
      h("span", null, `${lean(face.pose.yaw, "to the right", "to the left")}, ${lean(face.pose.pitch, "up", "down")}, tilted ${Math.round(face.pose.roll)}°`)),
    facts([
      ["Size", `${Math.round(face.width * 100)} × ${Math.round(face.height * 100)} % of the photo`],
      ["Age", said.age_low !== null && `${said.age_low} to ${said.age_high}`],
      ["Gender", attribute(said.gender, {})],
      ["Smile", attribute(said.smile, { true: "yes", false: "no" })],
      ["Eyes", attribute(said.eyes_open, { true: "open", false: "closed" })],
      ["Mouth", attribute(said.mouth_open, { true: "open", false: "closed" })],
    ].filter(([, value]) => value)),
  ];
}

const lean = (degrees, more, less) => `${Math.abs(Math.round(degrees))}° ${degrees >= 0 ? more : less}`;

function head({ yaw, pitch, roll }) {
  const x = Math.sin((yaw * Math.PI) / 180) * 11;
  const y = -Math.sin((pitch * Math.PI) / 180) * 11;
  return svg("svg", { viewBox: "0 0 44 44", "aria-hidden": "true", fill: "none", stroke: "currentColor", "stroke-width": 1.6 },
    svg("g", { transform: `rotate(${roll} 22 22)` },
      svg("ellipse", { cx: 22, cy: 22, rx: 14, ry: 18 }),
      svg("circle", { cx: 22 + x - 5, cy: 18 + y, r: 1.4, fill: "currentColor" }), svg("circle", { cx: 22 + x + 5, cy: 18 + y, r: 1.4, fill: "currentColor" }),
      svg("path", { d: `M${22 + x} ${20 + y}v5`, "stroke-linecap": "round" }), svg("path", { d: `M${17 + x} ${30 + y}q5 3 10 0`, "stroke-linecap": "round" })));
}
