// Shows the camera's picture as in a mirror, sends it frame by frame as it is, and says what the service asks.

const page = document.getElementById("page");
const told = page.dataset;
const find = (id) => document.getElementById(id);

const ACROSS = 640; // pixels of a frame that is sent
const PAUSE = 90; // least milliseconds from one frame to the next
const PATIENCE = 8; // times that sending is tried again while the service does not answer
const TO_READ = 2500; // milliseconds that it takes to read a remark
// Remarks that one frame brings, and the next one not any more: no other one takes their place before they are read.
const BROUGHT_ONCE = new Set(["STEP_DONE", "MORE_SLOWLY", "OTHER_MOVEMENT", "TOO_LATE"]);

const ENDS = {
  SUCCEEDED: ["Done", "Thank you. You can close this page."],
  FAILED: ["It did not work out", "Ask for a new check where you came from, and do each movement slowly."],
  EXPIRED: ["This check is over", "Ask for a new one where you came from."],
  STOPPED: ["Stopped", "Nothing was decided. Open this page again to go on, within three minutes."],
  UNAVAILABLE: ["The service does not answer", "Try again in a moment."],
};

const CAMERA_TROUBLE = {
  NotAllowedError: "The camera is not allowed. Allow it for this page in your browser, and try again.",
  NotFoundError: "There is no camera. Connect one, and try again.",
  NotReadableError: "Another program uses the camera. Close that one, and try again.",
};

let stream = null;
let running = false;
let remark = ""; // the last that had a text
let remarkedAt = 0; // when it was made, in milliseconds

function show(view) {
  told.view = view;
  for (const id of ["start", "check", "end"]) find(id).hidden = id !== view;
}

function write(id, text) {
  // Written only when it changes: a screen reader reads each change.
  if (find(id).textContent !== text) find(id).textContent = text;
}

async function begin() {
  find("begin").disabled = true;
  find("trouble").hidden = true;
  try {
    if (!navigator.mediaDevices) throw new Error("The camera needs an address that begins with https://.");
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } },
    });
  } catch (error) {
    find("trouble").textContent = CAMERA_TROUBLE[error.name] || error.message;
    find("trouble").hidden = false;
    find("begin").disabled = false;
    return;
  }
  const camera = find("camera");
  camera.srcObject = stream;
  await camera.play();
  show("check");
  running = true;
  await check(camera);
}

async function check(camera) {
  const canvas = document.createElement("canvas");
  let failures = 0;
  while (running) {
    const began = performance.now();
    const answer = await send(await frameOf(camera, canvas));
    if (!running) return;
    if (answer.status) {
      failures = 0;
      tell(answer);
      if (answer.status !== "CREATED" && answer.status !== "IN_PROGRESS") return end(answer.status);
    } else if (answer.gone) {
      return end("EXPIRED");
    } else if (++failures > PATIENCE) {
      return end("UNAVAILABLE");
    }
    const pause = answer.wait || PAUSE - (performance.now() - began);
    await new Promise((done) => setTimeout(done, Math.max(pause, 0)));
  }
}

function frameOf(camera, canvas) {
  const scale = Math.min(1, ACROSS / Math.max(camera.videoWidth, camera.videoHeight));
  canvas.width = Math.round(camera.videoWidth * scale);
  canvas.height = Math.round(camera.videoHeight * scale);
  canvas.getContext("2d").drawImage(camera, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
}

async function send(blob) {
  const form = new FormData();
  form.append("image", blob, "frame.jpg");
  try {
    const answer = await fetch(`../api/v1/liveness/sessions/${told.session}/frames`, { method: "POST", body: form });
    if (answer.ok) return await answer.json();
    if (answer.status === 404) return { gone: true };
    return { wait: 1000 * (Number(answer.headers.get("Retry-After")) || 0.5) };
  } catch {
    return { wait: 500 }; // the network is away for a moment
  }
}

function tell(answer) {
  remarkOn(answer);
  if (!answer.asked) return;
  const { step, stage, number, steps, text } = answer.asked;
  told.step = step;
  told.stage = stage;
  write("asked", text);
  write("count", `Movement ${number} of ${steps}`);
  const dots = Array.from({ length: steps }, (_, place) => {
    const dot = document.createElement("i");
    dot.className = place < number - 1 ? "done" : place === number - 1 ? "now" : "";
    return dot;
  });
  find("dots").replaceChildren(...dots);
}

function remarkOn(answer) {
  const unread = performance.now() - remarkedAt < TO_READ;
  if (unread && (!answer.text || (BROUGHT_ONCE.has(remark) && !BROUGHT_ONCE.has(answer.remark)))) return;
  write("remark", answer.text);
  if (!answer.text) return;
  remark = answer.remark;
  remarkedAt = performance.now();
}

function end(status) {
  running = false;
  for (const track of stream ? stream.getTracks() : []) track.stop();
  told.status = status;
  const [title, text] = ENDS[status] || ENDS.UNAVAILABLE;
  find("end-title").textContent = title;
  find("end-text").textContent = text;
  show("end");
  find("end-title").focus();
  if (status === "SUCCEEDED" || status === "FAILED" || status === "EXPIRED") passOn(status);
}

function passOn(status) {
  // Whoever shows this page in a frame, or has opened it, is told; of other sites none is.
  const message = { type: "facerec-liveness", session_id: told.session, status };
  const other = window.parent === window ? window.opener : window.parent;
  if (other) for (const origin of [location.origin, ...JSON.parse(told.origins)]) other.postMessage(message, origin);
  if (!told.return) return;
  const onward = new URL(told.return);
  onward.searchParams.set("liveness_session_id", told.session);
  onward.searchParams.set("status", status);
  find("onward").href = onward.href;
  find("onward").hidden = false;
  if (window.parent === window) setTimeout(() => location.assign(onward.href), 1500);
}

find("keeps").textContent =
  told.keeps === "none"
    ? "Your pictures are looked at and not kept."
    : "Your pictures are looked at. A few of them are kept for whoever asked for this check.";
find("begin").addEventListener("click", begin);
find("stop").addEventListener("click", () => end("STOPPED"));
document.addEventListener("visibilitychange", () => {
  if (document.hidden && running) end("STOPPED");
});
if (told.status === "CREATED" || told.status === "IN_PROGRESS") show("start");
else end(told.status);
