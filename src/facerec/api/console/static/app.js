// The shell: who is signed in, which page is shown, and the way between pages.

import { key, onRefusal, ServiceError } from "./api.js";
import { announce, h, icon, replace } from "./dom.js";
import { button, errorNote, notAllowed, skeleton } from "./components.js";
import { showSignIn } from "./pages/sign-in.js";
import { caller, refusal, signIn, signOut } from "./session.js";
import { themeToggle } from "./theme.js";

// path, name, sign, module, scope, area (see session.refusal); without a sign it is no link of the side.
const GROUPS = [
  [null, [["", "Dashboard", "dashboard", "dashboard", "read"]]],
  ["Recognise", [
    ["analyse", "Analyse", "analyse", "analyse", "read"],
    ["compare", "Compare", "compare", "compare", "read"],
    ["search", "Search", "search", "search", "read"],
  ]],
  ["Gallery", [
    ["collections", "Collections", "collections", "collections", "read"],
    ["collections/:collection", "Collection", null, "collection", "read"],
    ["people", "People", "people", "people", "read", "registry"],
    ["people/:person", "Person", null, "person", "read", "registry"],
    ["enrol", "Enrol", "enrol", "enrol", "write", "registry"],
    ["albums", "Albums", "albums", "albums", "read", "all"],
    ["albums/:album", "Album", null, "album", "read"],
    ["albums/:album/:person", "Person of an album", null, "album-person", "read"],
  ]],
  ["Operate", [
    ["jobs", "Jobs", "jobs", "jobs", "read", "all"],
    ["keys", "Keys", "keys", "keys", "admin", "all"],
    ["audit", "Audit", "audit", "audit", "admin", "all"],
    ["accuracy", "Accuracy", "accuracy", "accuracy", "read"],
    ["settings", "Settings", "settings", "settings", "admin", "all"],
  ]],
];
const ROUTES = GROUPS.flatMap(([, routes]) => routes).map(([path, name, sign, module, scope, area]) =>
  ({ path, name, sign, module, scope, area, parts: path.split("/") }));

const app = document.getElementById("app");
let main = null;
let leaving = new AbortController();

function routeOf(hash) {
  const [path, search] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decodeURIComponent);
  for (const route of ROUTES) {
    if (route.parts.length !== parts.length) continue;
    if (!route.parts.every((part, at) => part.startsWith(":") || part === parts[at])) continue;
    const parameters = Object.fromEntries(route.parts.flatMap((part, at) => part.startsWith(":") ? [[part.slice(1), parts[at]]] : []));
    return { route, parameters, query: new URLSearchParams(search) };
  }
  return null;
}

/** Show the page that the address names. */
async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const found = routeOf(location.hash);
  if (!found) {
    location.hash = "#/";
    return;
  }
  const { route } = found;
  const focused = document.activeElement;
  closeSide();
  for (const link of document.querySelectorAll(".side a.link")) {
    const here = link.dataset.path === route.parts[0];
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const view = h("div");
  replace(main, view);
  const why = refusal(route.scope, route.area);
  if (why) {
    replace(view, h("header", { class: "page-head" }, h("div", null, h("h1", { tabindex: "-1" }, route.name))), notAllowed(why));
  } else {
    replace(view, h("div", { class: "card" }, skeleton(6)));
    try {
      const page = await import(`./pages/${route.module}.js`);
      if (signal.aborted) return;
      replace(view);
      await page.show(view, { ...found.parameters, query: found.query, signal });
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (!(error instanceof ServiceError)) console.error(error);
      view.append(errorNote(error));
    }
  }
  if (signal.aborted) return;
  const title = view.querySelector("h1");
  document.title = `${title?.textContent ?? route.name} · facerec console`;
  // Who has gone elsewhere while the page was loaded, into the menu or a field, stays there.
  if ([focused, document.body].includes(document.activeElement)) title?.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  announce(title?.textContent ?? route.name);
}

function sideLinks() {
  return GROUPS.map(([name, routes]) => [
    name && h("h2", null, name),
    h("ul", null, routes.filter(([, , sign]) => sign).map(([path, text, sign, , scope, area]) => {
      const why = refusal(scope, area);
      return h("li", null, h("a", { class: `link ${why ? "locked" : ""}`, href: `#/${path}`, dataset: { path }, title: why },
        icon(sign), text, why && [h("span", { class: "unseen" }, " (not allowed)"), h("span", { class: "lock" }, icon("lock"))]));
    })),
  ]);
}

function closeSide(focus = false) {
  document.querySelector(".side")?.classList.remove("open");
  document.querySelector(".veil")?.remove();
  const opener = document.getElementById("opener");
  opener?.setAttribute("aria-expanded", "false");
  if (focus) opener?.focus();
}

function openSide() {
  const side = document.querySelector(".side");
  side.classList.add("open");
  document.getElementById("opener").setAttribute("aria-expanded", "true");
  document.querySelector(".shell").append(h("div", { class: "veil", onclick: () => closeSide(true) }));
  side.querySelector("a.link").focus();
}

function brand() {
  return h("a", { class: "brand", href: "#/" }, h("img", { src: "icon.svg", alt: "" }), "facerec");
}

function drawShell() {
  const name = caller.key_id === null ? "No key needed" : caller.key_id;
  const side = h("aside", { class: "side", id: "side", onkeydown: (event) => { if (event.key === "Escape") closeSide(true); } },
    brand(),
    h("nav", { "aria-label": "Pages" }, sideLinks()),
    h("div", { class: "who" },
      h("div", { class: "who-name" }, h("span", { title: name }, name), h("span", { class: "pill plain accent" }, caller.scope)),
      h("div", { class: "who-actions" }, themeToggle(),
        caller.key_id !== null && button("Sign out", leave, { kind: "small", sign: "out" }))));
  main = h("main", { class: "page", id: "main", tabindex: "-1" });
  replace(app, h("div", { class: "shell" },
    h("header", { class: "top" },
      h("button", { type: "button", class: "button quiet bare", id: "opener", "aria-label": "Menu", "aria-controls": "side", "aria-expanded": "false", onclick: openSide }, icon("menu")),
      brand()),
    side, main));
}

function leave() {
  key.forget();
  signOut();
  leaving.abort();
  window.removeEventListener("hashchange", show);
  showSignIn(app, enter);
}

async function enter() {
  await signIn();
  drawShell();
  window.addEventListener("hashchange", show);
  await show();
}

async function start() {
  onRefusal((error) => { leave(); showSignIn(app, enter, error); });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main")?.focus();
  });
  replace(app, skeleton(3));
  try {
    await enter();
  } catch (error) {
    showSignIn(app, enter, key.get() || error.code !== "MissingCredentials" ? error : null);
  }
}

start();
