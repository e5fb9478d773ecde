// Elements, made from plain functions. Text is always text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: attributes, listeners (`onclick`), `dataset`, `style` as an object, and children. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") Object.entries(value).forEach(([key, each]) => element.style.setProperty(key, each));
    else if (name === "value" && "value" in element) element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
}

/** Put children in place of what an element has. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

let counted = 0;

/** An id that no other element has. */
export function newId(stem) {
  counted += 1;
  return `${stem}-${counted}`;
}

/** Say something to whoever listens to the page instead of looking at it. */
export function announce(text) {
  const region = document.getElementById("announcer");
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = text; });
}

const ICONS = {
  dashboard: ["M4 13h6V4H4z", "M14 20h6V11h-6z", "M14 7h6V4h-6z", "M4 20h6v-3H4z"],
  analyse: ["M4 8V5a1 1 0 0 1 1-1h3", "M16 4h3a1 1 0 0 1 1 1v3", "M20 16v3a1 1 0 0 1-1 1h-3", "M8 20H5a1 1 0 0 1-1-1v-3", "M9 10v.01", "M15 10v.01", "M9 14.5c1.8 1.6 4.2 1.6 6 0"],
  compare: ["M9 5H5a1 1 0 0 0-1 1v12a1 1 0 0 0 1 1h4", "M15 5h4a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1h-4", "M12 3v18"],
  search: ["M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13z", "M15.5 15.5 20 20"],
  collections: ["M4 7h16", "M6 4h12", "M5 10h14a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-8a1 1 0 0 1 1-1z"],
  people: ["M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z", "M3 20c0-3.3 2.7-6 6-6s6 2.7 6 6", "M16 4.5a3.5 3.5 0 0 1 0 6", "M18 14.5c1.8.9 3 2.9 3 5.5"],
  enrol: ["M10 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z", "M4 20c0-3.3 2.7-6 6-6 1.6 0 3 .6 4.100 1.600", "M18 13v7", "M14.500 16.500h7"],
  albums: ["M5 5h14a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z", "M8.500 10v.01", "M4 17l5-4 4 3 3-2.500 4 3.500"],
  jobs: ["M4 6h10", "M4 12h10", "M4 18h10", "M18 6h2", "M18 12h2", "M18 18h2"],
  keys: ["M15 13a5 5 0 1 0-4.600-3L4 16.400V20h3.600v-2.500H10V15l2.300-2.200c.8.200 1.700.2 2.700.2z", "M15.500 8.500v.01"],
  audit: ["M6 4h12a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1z", "M8.5 9h7", "M8.5 12.5h7", "M8.5 16h4"],
  accuracy: ["M4 4v16h16", "M7 15c2-7 5-9 12-9.500"],
  settings: ["M4 7h9", "M17 7h3", "M15 9.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z", "M4 17h3", "M11 17h9", "M9 19.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z"],
  lock: ["M7 11h10a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1z", "M8.500 11V8a3.500 3.500 0 0 1 7 0v3"],
  menu: ["M4 7h16", "M4 12h16", "M4 17h16"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  sun: ["M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8z", "M12 3v1.500", "M12 19.500V21", "M3 12h1.500", "M19.500 12H21", "M5.600 5.600l1 1", "M17.400 17.400l1 1", "M5.600 18.400l1-1", "M17.400 6.600l1-1"],
  moon: ["M20 14.500A8 8 0 0 1 9.500 4a8 8 0 1 0 10.500 10.500z"],
  out: ["M14 4h5a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-5", "M10 8l-4 4 4 4", "M6 12h9"],
  upload: ["M12 16V5", "M7.500 9.500 12 5l4.500 4.500", "M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3"],
  camera: ["M4 8h3l1.500-2.500h7L17 8h3a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1z", "M12 16.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7z"],
  plus: ["M12 5v14", "M5 12h14"],
  trash: ["M5 7h14", "M9.500 7V4.500h5V7", "M7 7l.8 12.500h8.400L17 7"],
  refresh: ["M19 12a7 7 0 1 1-2-4.900", "M19.500 4v4h-4"],
  check: ["M5 12.500l4.500 4.500L19 7.500"],
  warning: ["M12 4 2.800 19.500h18.400z", "M12 10v4", "M12 17v.01"],
  back: ["M14.500 5.500 8 12l6.500 6.500"],
  next: ["M9.500 5.500 16 12l-6.500 6.500"],
  copy: ["M9 9h10a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1z", "M6 15H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1h9a1 1 0 0 1 1 1v1"],
  face: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z", "M9 10v.01", "M15 10v.01", "M8.500 14.500c2 2 5 2 7 0"],
};

/** A drawn sign that stands beside words, and so is silent. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
    ICONS[name].map((path) => svg("path", { d: path })));
}
