// Light or dark: as the system says, until somebody says otherwise.

import { h, icon, replace } from "./dom.js";

const KEPT = "facerec.theme";
const root = document.documentElement;

const isDark = () => root.dataset.theme === "dark" ||
  (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);

const kept = localStorage.getItem(KEPT);
if (kept) root.dataset.theme = kept;

/** The button that changes between light and dark. */
export function themeToggle() {
  const element = h("button", { type: "button", class: "button small", onclick: () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem(KEPT, root.dataset.theme);
    draw();
  } });
  const draw = () => {
    const to = isDark() ? "Light" : "Dark";
    replace(element, icon(isDark() ? "sun" : "moon"), to);
    element.setAttribute("aria-label", `${to} colours`);
  };
  draw();
  return element;
}
