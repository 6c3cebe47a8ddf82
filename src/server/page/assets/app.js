// Every page is whole without this file, which keeps it current.
"use strict";
const main = document.querySelector("main");
const live = document.getElementById("live");
const log = document.getElementById("log");
const MAX_LINES = 5000;
const skew = Date.parse(main.dataset.now) - Date.now();
const now = () => Date.now() + skew;
const two = (number) => String(number).padStart(2, "0");

// As `words::duration` writes it.
function duration(millis) {
  const s = Math.floor(millis / 1000), m = Math.floor(s / 60), h = Math.floor(s / 3600), d = Math.floor(s / 86400);
  if (s < 1) return millis > 0 ? "<1s" : "0s";
  if (!m) return `${s}s`;
  if (!h) return `${m}m ${two(s % 60)}s`;
  return d ? `${d}d ${two(h % 24)}h` : `${h}h ${two(m % 60)}m`;
}

function tick() {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("[data-since]")) {
    const text = duration(Math.max(0, now() - Date.parse(element.dataset.since)));
    if (element.textContent !== text) element.textContent = text;
  }
  for (const bar of document.querySelectorAll("rect[data-from]")) {
    bar.setAttribute("width", Math.max(0, (now() - Date.parse(bar.dataset.from)) / 1000).toFixed(1));
  }
}

// What a person has opened, typed or is at stays so when the element around it is replaced.
function keep(old, fresh) {
  for (const details of old.querySelectorAll("details[id]")) {
    const other = fresh.querySelector(`#${CSS.escape(details.id)}`);
    if (other) other.open = details.open;
  }
  for (const field of old.querySelectorAll("input[id],textarea[id],select[id]")) {
    const other = fresh.querySelector(`#${CSS.escape(field.id)}`);
    if (other) other.value = field.value;
  }
  // Why a request was refused, as long as there is something to try again.
  for (const alert of old.querySelectorAll("[role=alert]")) {
    if (fresh.querySelector("form")) fresh.prepend(alert);
  }
}

function rescale() {
  const scale = document.getElementById("summary")?.dataset.scale;
  if (!scale) return;
  for (const bar of document.querySelectorAll("svg.bar")) {
    const box = `0 0 ${scale} 1`;
    if (bar.getAttribute("viewBox") !== box) bar.setAttribute("viewBox", box);
  }
}

function put(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const atEnd = log && log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  for (const fresh of [...template.content.children]) {
    const old = document.getElementById(fresh.id);
    if (!old) {
      if (fresh.parentNode && fresh.dataset.into !== undefined) document.getElementById(fresh.dataset.into)?.append(fresh);
      if (fresh.parentNode === log) match(fresh);
      continue;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const path = focused && (focused.id || focused.parentNode.id);
    keep(old, fresh);
    old.replaceWith(fresh);
    if (path) {
      const parent = document.getElementById(path);
      (focused.id ? parent : parent?.querySelector(focused.localName))?.focus({ preventScroll: true });
    }
  }
  while (log && log.childElementCount > MAX_LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
  rescale();
  tick();
}

const stream = main.dataset.stream;
let source, timer, last = main.dataset.seq, isFinal = false;

function say(state, text) {
  live.dataset.state = state;
  live.textContent = text;
}

function close() {
  clearTimeout(timer);
  source?.close();
  source = undefined;
}

function rest(millis = 5000) {
  close();
  timer = setTimeout(open, millis);
}

function open() {
  if (!stream || source || document.hidden || isFinal) return;
  clearTimeout(timer);
  source = new EventSource(last ? `${stream}?after=${last}` : stream);
  source.onopen = () => say("live", hasStream() ? "live" : "every 5 s");
  source.addEventListener("parts", (event) => {
    last = event.lastEventId || last;
    put(JSON.parse(event.data));
    if (hasStream()) return;
    // The end may follow.
    clearTimeout(timer);
    timer = setTimeout(rest, 500);
  });
  source.addEventListener("reload", () => location.reload());
  source.addEventListener("end", (event) => {
    last = event.lastEventId || last;
    isFinal = event.data === "final";
    say("off", isFinal ? "" : "stopped");
    if (isFinal) leave();
    // A person may resume it.
    else rest(10000);
  });
  source.onerror = () => {
    say("lost", "connection lost, trying again");
    if (source?.readyState === EventSource.CLOSED) rest();
  };
}

// A browser has six connections to a service, for all its windows. The windows to which a person turned last have a
// stream, the others ask now and then, and a hidden one does not. Each knows the windows that were turned to after it.
const MAX_STREAMS = 4;
const me = Math.random(), later = new Set(), windows = new BroadcastChannel("streams");
const hasStream = () => later.size < MAX_STREAMS;
windows.onmessage = ({ data: [id, isShown] }) => {
  if (!isShown) later.delete(id);
  else if (!later.has(id) && later.add(id).size === MAX_STREAMS) rest();
};

function claim() {
  if (!stream || document.hidden || isFinal) return;
  later.clear();
  windows.postMessage([me, true]);
  open();
}

function leave() {
  close();
  windows.postMessage([me, false]);
}

addEventListener("visibilitychange", () => (document.hidden ? leave() : (tick(), claim())));
addEventListener("focus", claim);
addEventListener("pagehide", leave);
addEventListener("pageshow", claim);
// The answer to a form is sent again when it is loaded again.
if (stream && location.pathname.startsWith("/page/")) history.replaceState(null, "", stream.replace("/stream", ""));

const filter = document.getElementById("filter");
function match(line) {
  const text = filter.value.toLowerCase();
  line.hidden = text !== "" && !line.textContent.toLowerCase().includes(text);
}
if (filter) {
  filter.parentNode.hidden = false;
  filter.addEventListener("input", () => [...log.children].forEach(match));
  log.scrollTop = log.scrollHeight;
}
setInterval(tick, 1000);
claim();
