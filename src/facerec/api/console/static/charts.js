// Drawn figures: a line over time, and a curve over two axes.

import { h, replace, svg } from "./dom.js";

/** A line over the last values, with its area; element has `push(value)`. */
export function sparkline(label, { width = 460, height = 260, most = 60, format = String } = {}) {
  const values = [];
  const place = h("div");
  place.push = (value) => {
    values.push(value);
    if (values.length > most) values.shift();
    draw();
  };
  function draw() {
    const top = Math.max(...values, 1e-9) * 1.15;
    const x = (at) => (values.length === 1 ? width : (at / (most - 1)) * width + width * (1 - (values.length - 1) / (most - 1)));
    const y = (value) => height - 18 - (value / top) * (height - 30);
    const path = values.map((value, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    replace(place, svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": `${label}: now ${format(values.at(-1))}` },
      [0, top / 1.15].map((value) => [
        svg("line", { class: "grid-line", x1: 0, x2: width, y1: y(value), y2: y(value) }),
        value > 1e-6 && svg("text", { x: width, y: y(value) - 4, "text-anchor": "end" }, format(value))]),
      svg("path", { class: "area", d: `${path}L${width} ${y(0)}L${x(0)} ${y(0)}Z` }),
      svg("path", { class: "curve", d: path }),
      svg("circle", { class: "dot", r: 3.5, cx: x(values.length - 1), cy: y(values.at(-1)) }),
      svg("text", { x: 0, y: height - 2 }, "five minutes"), svg("text", { x: width, y: height - 2, "text-anchor": "end" }, "now")));
  }
  return place;
}

/** A curve over two axes: points {x, y, low, high} in the order of x; ticks as [value, text]. */
export function curve(label, { points, x, y, dots = false, marks = [], width = 460, height = 280 }) {
  const [left, right, top, bottom] = [52, 16, 10, 44];
  const [first, last] = [points[0].x, points.at(-1).x];
  const across = (value) => left + ((value - first) / (last - first || 1)) * (width - left - right);
  const up = (value) => height - bottom - ((value - y.from) / (y.to - y.from)) * (height - top - bottom);
  const line = (values) => values.map(([a, b], at) => `${at ? "L" : "M"}${across(a).toFixed(1)} ${up(b).toFixed(1)}`).join("");
  const banded = points.every((point) => point.low !== undefined);
  const band = banded && `${line(points.map((point) => [point.x, point.high]))}${line(points.map((point) => [point.x, point.low]).reverse()).replace("M", "L")}Z`;
  const shown = [...(dots ? points : []), ...marks];
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label },
    y.ticks.map(([value, text]) => [
      svg("line", { class: "grid-line", x1: left, x2: width - right, y1: up(value), y2: up(value) }),
      svg("text", { x: left - 8, y: up(value) + 4, "text-anchor": "end" }, text)]),
    x.ticks.map(([value, text], at) => svg("text", { x: across(value), y: height - bottom + 18, "text-anchor": at === x.ticks.length - 1 ? "end" : at ? "middle" : "start" }, text)),
    svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, x.name),
    band && svg("path", { class: "band", d: band }),
    svg("path", { class: "curve", d: line(points.map((point) => [point.x, point.y])) }),
    shown.map((point) => svg("circle", { class: "dot", cx: across(point.x), cy: up(point.y), r: 4 })));
}
