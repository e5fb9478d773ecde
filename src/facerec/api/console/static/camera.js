// A person before the camera: frames go to a registration session, which says what to do next.

import { call, part } from "./api.js";
import { button, card, empty, enrolled, errorNote, measure, note } from "./components.js";
import { announce, h, replace, svg } from "./dom.js";

const PAUSE = 350;
const WIDTH = 960;

/** Show the camera in a place; wishes: who is enrolled, and how. What it returns ends it. */
export function enrolByCamera(place, wishes, signal) {
  let stream = null;
  let session = null;
  let running = false;
  let looking = null; // ends when no frame is at work any more
  const trouble = h("div", { "aria-live": "polite" });
  const video = h("video", { autoplay: true, playsinline: true, muted: true, "aria-label": "Camera" });
  const hint = h("p", { class: "hint", hidden: true });
  const ring = svg("ellipse", { cx: 50, cy: 46, rx: 22, ry: 32, fill: "none", stroke: "#fff", "stroke-width": 0.8, "stroke-dasharray": "3 2", opacity: 0.8 });
  const guide = svg("svg", { class: "guide", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" }, ring);
  const start = empty("camera", "The camera is off", "Its pictures go to this service alone, which keeps none of them.",
    button("Turn the camera on", () => turnOn(), { kind: "primary", sign: "camera" }));
  const screen = h("div", { class: "card" }, start);
  const taken = h("div", { class: "taken" });
  const state = h("div", { class: "stack tight" });
  const begin = button("Begin", () => open(), { kind: "primary" });
  const commit = button("Enrol", () => finish(), { kind: "primary" });
  const cancel = button("Begin anew", () => forget(), {});
  const controls = h("div", { class: "actions" }, begin, commit, cancel);

  async function turnOn() {
    try {
      if (!navigator.mediaDevices) throw new TypeError("no camera");
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 960 }, facingMode: "user" } });
    } catch {
      replace(trouble, note("bad", "There is no camera to be had.",
        "Allow this page to use it. Browsers give a camera to pages over TLS or on this machine alone; photos can be enrolled from in any case."));
      return;
    }
    video.srcObject = stream;
    replace(trouble);
    replace(screen, h("div", { class: "stage" }, h("div", { class: "camera" }, video, guide, hint)));
    show();
  }

  async function open() {
    try {
      session = await call("POST", "registrations", { json: { ...wishes(), metadata: {} }, signal });
    } catch (error) {
      replace(trouble, errorNote(error));
      return;
    }
    replace(trouble);
    replace(taken);
    running = true;
    show();
    looking = loop(session.session_id);
  }

  async function loop(id) {
    const current = () => session?.session_id === id && !signal.aborted;
    while (running && current()) {
      try {
        const { file, picture } = await frame();
        const feedback = await call("POST", `registrations/${part(id)}/frames`, { form: { image: file }, signal });
        if (current()) tell(feedback, picture);
      } catch (error) {
        if (!current()) return;
        replace(trouble, errorNote(error));
        if (error.status !== 429 && error.status !== 503) { running = false; session = null; show(); return; }
      }
      await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
    }
  }

  async function frame() {
    while (!video.videoWidth) await new Promise((resolve) => { setTimeout(resolve, 50); });
    const scale = Math.min(1, WIDTH / video.videoWidth);
    const picture = h("canvas", { class: "face", width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale), role: "img", "aria-label": "A frame that was taken" });
    picture.getContext("2d").drawImage(video, 0, 0, picture.width, picture.height);
    const blob = await new Promise((resolve) => { picture.toBlob(resolve, "image/jpeg", 0.92); });
    return { picture, file: new File([blob], "frame.jpg", { type: "image/jpeg" }) };
  }

  function tell(feedback, picture) {
    session = feedback.session;
    const text = feedback.hints[0]?.text ?? (feedback.accepted ? "Good." : feedback.message);
    if (hint.textContent !== text) announce(text);
    hint.textContent = text;
    hint.hidden = false;
    ring.setAttribute("stroke", feedback.accepted ? "#58e08f" : "#ffd54a");
    if (feedback.accepted) taken.append(picture);
    const enough = feedback.hints.some((each) => each.hint === "ENOUGH");
    if (enough) running = false;
    replace(state,
      feedback.quality === null ? null : measure("Quality of the frame", feedback.quality, { bar: 40 }),
      feedback.similarity === null ? null : measure("Like the frames before", feedback.similarity),
      feedback.liveness === null ? null : measure("A live face", feedback.liveness, { bar: 50 }),
      h("ul", { class: "stack tight" }, feedback.findings.map((finding) => h("li", { class: "small" }, finding.advice))));
    show();
  }

  async function finish() {
    running = false;
    await looking;
    if (!session) return;
    try {
      const done = await call("POST", `registrations/${part(session.session_id)}/commit`, { signal });
      session = null;
      hint.hidden = true;
      replace(trouble, enrolled(done.person));
      replace(state);
      replace(taken);
    } catch (error) {
      replace(trouble, errorNote(error));
    }
    show();
  }

  async function forget() {
    running = false;
    const forgotten = session;
    session = null;
    hint.hidden = true;
    replace(taken);
    replace(state);
    show();
    if (forgotten) await call("DELETE", `registrations/${part(forgotten.session_id)}`).catch(() => {});
  }

  function show() {
    begin.hidden = !stream || session !== null;
    commit.hidden = !session?.frames;
    cancel.hidden = session === null;
  }

  function stop() {
    running = false;
    stream?.getTracks().forEach((track) => track.stop());
    if (session) forget();
  }

  signal.addEventListener("abort", stop);
  show();
  replace(place, h("div", { class: "split" }, screen, card("Progress", h("div", { class: "card-body stack" },
    h("ol", { class: "steps" },
      ["Say who it is, above", "Turn the camera on, and begin", "Do what the picture says, until that is enough", "Enrol"].map((step) => h("li", null, step))),
    trouble, taken, state, controls))));
  return stop;
}
