// Signing in with an API key.

import { key } from "../api.js";
import { errorNote, field, input } from "../components.js";
import { h, replace } from "../dom.js";
import "../theme.js";

/** Show the form in place of everything; enter: goes on once a key is taken. error: why it is shown. */
export function showSignIn(app, enter, error = null) {
  const secret = input({ type: "password", name: "key", required: true, autocomplete: "current-password" });
  const trouble = h("div", null, error && errorNote(error));
  const go = h("button", { type: "submit", class: "button primary" }, "Sign in");
  const form = h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    go.setAttribute("aria-busy", "true");
    key.set(secret.value.trim());
    try {
      await enter();
    } catch (wrong) {
      key.forget();
      replace(trouble, errorNote(wrong));
      secret.setAttribute("aria-invalid", "true");
      secret.focus();
      secret.select();
    } finally {
      go.removeAttribute("aria-busy");
    }
  } },
  h("div", null, h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", { class: "intro" }, "With an API key of this service. It stays in this tab and is gone when you close it.")),
  field("API key", secret, ["Whoever runs the service makes one: ", h("code", null, "facerec keys create --api")]),
  trouble, go);
  document.title = "Sign in · facerec console";
  replace(app, h("main", { class: "sign-in", id: "main", tabindex: "-1" },
    h("div", null, h("div", { class: "brand" }, h("img", { src: "icon.svg", alt: "" }), "facerec"), form)));
  secret.focus();
}
