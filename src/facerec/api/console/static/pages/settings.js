// The settings of the running service, to be read.

import { call } from "../api.js";
import { card, check, empty, field, input, pageHead, pill, table } from "../components.js";
import { h, replace } from "../dom.js";

export async function show(view, { signal }) {
  const { settings } = await call("GET", "settings", { signal });
  const wanted = input({ type: "search", placeholder: "FACEREC_…" });
  const given = check("Only what was set");
  const list = h("div", { "aria-live": "polite" });
  const draw = () => {
    const text = wanted.value.trim().toLowerCase();
    const found = settings.filter((each) => (!given.box.checked || each.given) &&
      `${each.name} ${each.description}`.toLowerCase().includes(text));
    replace(list, found.length ? table("Settings", [["Setting"], ["Value", "wide"]], found.map((each) => [
      h("div", null, h("span", { class: "main mono" }, each.name), h("p", { class: "muted small" }, each.description)), value(each)]))
      : empty("settings", "No setting is like that", "Look for a part of its name, or of what it does."));
  };
  wanted.addEventListener("input", draw);
  given.box.addEventListener("change", draw);
  draw();
  replace(view, pageHead("Settings", "What the service was started with. They are changed in its environment, or a file .env, and a restart."),
    h("div", { class: "stack" }, h("div", { class: "card card-body fields" }, field("Find", wanted), given), card(null, list)));
}

function value(each) {
  const text = each.secret ? pill(each.given ? "set, and secret" : "not set", "plain")
    : each.value === null ? h("span", { class: "muted" }, "none") : h("span", { class: "value" }, each.value);
  return h("div", { class: "actions" }, text, each.given && !each.secret && pill("set", "accent"));
}
