// How well the model pack in use tells people apart, and what its similarities mean.

import { call } from "../api.js";
import { curve } from "../charts.js";
import { card, count, empty, facts, pageHead, pill, table } from "../components.js";
import { h, replace } from "../dom.js";

const MEANINGS = {
  50: "as likely one person as two",
  80: "the working point: one pair of strangers in a thousand is as similar",
  99: "one pair of strangers in a hundred thousand, or the strictest that was measured",
};

export async function show(view, { signal }) {
  const model = await call("GET", "model", { signal });
  const measured = model.accuracy;
  replace(view,
    pageHead("Accuracy", "How well the model pack in use tells people apart, and what its similarities mean."),
    h("div", { class: "stack" },
      card(model.pack, h("div", { class: "card-body" }, facts([
        ["Model", model.model_version], ["Numbers a face", count(model.dimension)], ["Liveness", model.judges_liveness ? "judged" : "not judged"],
        ["Attributes", model.attributes.length ? model.attributes.join(", ") : "none"], ["Contract", h("span", { class: "mono" }, model.contract_id.slice(0, 12))],
      ], { wide: true }))),
      h("div", { class: "grid halves" },
        card("People known, by strangers taken for somebody", measured ? roc(measured) : nothing(),
          { note: measured ? `Measured on ${count(measured.pairs)} pairs of ${count(measured.pictures)} pictures. The band is the 95 % interval.` : null }),
        card("Similarity, by cosine", calibration(model), { note: "The pack's calibration. The dots are the thresholds below." })),
      measured && card("Measured", h("div", null, h("div", { class: "card-body" }, facts([
        ["Accuracy", `${percent(measured.accuracy)} ± ${percent(measured.error)}`], ["Equal error rate", percent(measured.equal_error_rate)],
      ], { wide: true })), table("True accept rates", [["Strangers accepted", "number"], ["People accepted", "number"], ["95 % interval", "number"], ["Cosine", "number"], ["Similarity", "number"]],
        measured.roc.map((point) => [share(point.false_accepts), percent(point.true_accepts), `${percent(point.low)} to ${percent(point.high)}`,
          point.cosine.toFixed(3), point.similarity.toFixed(1)])))),
      card("Thresholds", table("Thresholds", [["Similarity", "number"], ["Cosine", "number"], ["What it means"]], model.thresholds.map((each) => [
        pill(String(each.similarity), each.similarity === 80 ? "accent plain" : "plain"), each.cosine?.toFixed(3) ?? "–",
        h("span", { class: "muted" }, MEANINGS[each.similarity] ?? "in between")])))));
}

const percent = (value) => `${(value * 100).toFixed(2)} %`;
const share = (value) => `1 in ${count(Math.round(1 / value))}`;

const nothing = () => empty("accuracy", "Nothing was measured of this pack", [
  "Measure it on pairs of photos whose persons you know: ", h("code", null, "facerec eval pairs.csv --keep"), "."]);

function roc(measured) {
  const points = [...measured.roc].sort((a, b) => a.false_accepts - b.false_accepts);
  const low = Math.min(...points.map((point) => point.low));
  const bottom = Math.max(0, Math.floor(low * 10) / 10);
  const step = bottom >= 0.9 ? 0.02 : bottom >= 0.7 ? 0.05 : 0.1;
  return h("div", { class: "card-body" }, curve("True accept rate by false accept rate", {
    points: points.map((point) => ({ x: Math.log10(point.false_accepts), y: point.true_accepts, low: point.low, high: point.high })),
    x: { ticks: points.map((point) => [Math.log10(point.false_accepts), share(point.false_accepts)]), name: "strangers accepted" },
    y: { from: bottom, to: 1, ticks: Array.from({ length: Math.round((1 - bottom) / step) + 1 }, (_, at) => bottom + at * step).map((value) => [value, `${Math.round(value * 100)} %`]) },
    dots: true,
  }));
}

function calibration(model) {
  const points = model.calibration.map((each) => ({ x: each.cosine, y: each.similarity }));
  const from = Math.max(-1, (points.findLast((point) => point.y <= 5)?.x ?? -1) - 0.05);
  const shown = points.filter((point) => point.x >= from);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => from + (1 - from) * part);
  return h("div", { class: "card-body" }, curve("Similarity by cosine", {
    points: shown, x: { ticks: ticks.map((value) => [value, value.toFixed(2)]), name: "cosine" },
    y: { from: 0, to: 100, ticks: [0, 20, 40, 60, 80, 100].map((value) => [value, String(value)]) },
    marks: model.thresholds.filter((each) => each.cosine !== null && each.cosine >= from).map((each) => ({ x: each.cosine, y: each.similarity })),
  }));
}
