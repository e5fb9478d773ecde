// Two photos: are they of one person?

import { call } from "../api.js";
import { button, count, errorNote, facts, note, pageHead, pill, skeleton } from "../components.js";
import { announce, h, replace } from "../dom.js";
import { threshold } from "../looking.js";
import { dropZone, openPhoto, photoWithFaces } from "../photo.js";

export async function show(view, { signal }) {
  const least = threshold();
  const verdict = h("div", { "aria-live": "polite" });
  const sides = { source: null, target: null };
  const places = { source: h("section", { "aria-label": "First photo" }), target: h("section", { "aria-label": "Second photo" }) };
  const titles = { source: ["First photo", "The largest face of it is compared."], target: ["Second photo", "With every face of this one."] };
  const start = (side) => {
    sides[side] = null;
    replace(verdict);
    replace(places[side], dropZone({ title: titles[side][0], text: titles[side][1], take: ([file]) => take(side, file) }));
  };
  const draw = (side, faces = []) => replace(places[side], h("div", { class: "card stage" },
    photoWithFaces(sides[side], faces, () => {}),
    h("div", { class: "under" }, h("span", null, sides[side].name), button("Another photo", () => start(side), { kind: "small" }))));
  async function take(side, file) {
    try {
      sides[side] = await openPhoto(file);
      draw(side);
      await compare();
    } catch (error) {
      replace(verdict, errorNote(error));
    }
  }
  async function compare() {
    if (!sides.source || !sides.target) return;
    replace(verdict, h("div", { class: "card" }, skeleton(2)));
    try {
      const found = await call("POST", "compare-faces", { signal,
        form: { source: sides.source.file, target: sides.target.file, similarity_threshold: "0" } });
      draw("source", [{ box: found.source_face, text: "compared", known: true }]);
      const bar = Number(least.control.value);
      draw("target", [...found.matches.map((each) => ({ box: each.face, known: each.similarity >= bar, text: each.similarity.toFixed(1) })),
        ...found.unmatched.map((face) => ({ box: face, text: "0.0" }))]);
      replace(verdict, judge(found, bar));
    } catch (error) {
      if (error.name !== "AbortError") replace(verdict, errorNote(error));
    }
  }
  least.control.addEventListener("change", compare);
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) take(sides.source ? "target" : "source", file);
  }, { signal });
  start("source");
  start("target");
  replace(view, pageHead("Compare", "Whether two photos show one person, and how sure that is."),
    h("div", { class: "stack" }, h("div", { class: "card card-body fields" }, least.element), verdict,
      h("div", { class: "grid halves" }, places.source, places.target)));
}

function judge(found, bar) {
  const [best] = found.matches;
  if (!best) return note("fair", "There is no face in the second photo that could be compared.");
  const same = best.similarity >= bar;
  announce(same ? "The same person" : "Not the same person");
  return h("div", { class: "card verdict" },
    h("span", { class: "figure" }, best.similarity.toFixed(1)),
    h("div", null, h("h2", null, same ? "The same person" : "Not the same person"),
      h("p", { class: "muted" }, same ? `As similar as asked for (${bar}) or more.` : `Less similar than asked for (${bar}).`)),
    h("div", null, pill(same ? "Match" : "No match", same ? "good" : "bad")),
    facts([["Cosine", best.cosine.toFixed(4)], ["Faces in the second", count(found.matches.length + found.unmatched.length)]]));
}
