// Pages of other sites, in a real browser, try to start a run of a service without a token. Between the browser and the
// service is a proxy that records what the browser sent: an attack that sends nothing proves nothing and is a failure.
//
// node cross_site.mjs PLAYWRIGHT CHROMIUM PROGRAM
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [playwright, chromium, program] = process.argv.slice(2);
const { chromium: driver } = await import(pathToFileURL(playwright).href);

// What a page can do without a person's help, and with one click on it. `run` is the address that starts a run.
const ATTACKS = {
  "a picture": (run) => `<img src="${run}">`,
  "a picture without a referrer": (run) => `<img referrerpolicy="no-referrer" src="${run}">`,
  "a picture with credentials": (run) => `<img crossorigin="use-credentials" src="${run}">`,
  "a script": (run) => `<script referrerpolicy="no-referrer" src="${run}"></script>`,
  "a module": (run) => `<script type="module" src="${run}"></script>`,
  "a style sheet": (run) => `<link rel="stylesheet" referrerpolicy="no-referrer" href="${run}">`,
  "a background": (run) => `<body style="background: url(${run})">`,
  "a frame": (run) => `<iframe referrerpolicy="no-referrer" src="${run}"></iframe>`,
  "a sandboxed frame": (run) => `<iframe sandbox="allow-scripts" src="${run}"></iframe>`,
  "an object": (run) => `<object data="${run}" type="text/html"></object>`,
  "a video": (run) => `<video autoplay src="${run}"></video>`,
  "a prefetch": (run) => `<link rel="prefetch" referrerpolicy="no-referrer" href="${run}">`,
  "a preload": (run) => `<link rel="preload" as="fetch" crossorigin href="${run}">`,
  "a refresh": (run) => `<meta http-equiv="refresh" content="0; url=${run}">`,
  "a navigation": (run) => `<script>location.replace("${run}")</script>`,
  "a link": (run) => `<a rel="noreferrer" href="${run}">prizes</a><script>document.querySelector("a").click()</script>`,
  "a window": (run) => `<script>window.open("${run}", "_blank", "noopener,noreferrer")</script>`,
  "a form that gets": (run) => form("get", run),
  "a form that posts": (run) => form("post", run),
  "a form that posts text": (run) => form("post", run, 'enctype="text/plain"'),
  "a form of a sandboxed frame": (run) =>
    `<iframe sandbox="allow-scripts allow-forms" srcdoc='${form("post", run)}'></iframe>`,
  "a fetch": (run) => script(`fetch("${run}", {mode: "no-cors", referrerPolicy: "no-referrer"})`),
  "a fetch that posts": (run) => script(`fetch("${run}", {method: "POST", mode: "no-cors", body: "{}"})`),
  "a fetch that posts without a referrer": (run) =>
    script(`fetch("${run}", {method: "POST", mode: "no-cors", referrerPolicy: "no-referrer"})`),
  "a fetch with credentials": (run) => script(`fetch("${run}", {credentials: "include"}).catch(() => {})`),
  "a fetch of JSON, which asks first": (run) =>
    script(`fetch("${run}", {method: "POST", headers: {"content-type": "application/json"}, body: "{}"}).catch(() => {})`),
  "a fetch from a data URL": (run) => `<iframe src='data:text/html,${script(`fetch("${run}", {mode: "no-cors"})`)}'></iframe>`,
  "a beacon": (run) => script(`navigator.sendBeacon("${run}", "{}")`),
  "an event source": (run) => script(`new EventSource("${run}")`),
  "a web socket": (run) => script(`new WebSocket("${run.replace("http", "ws")}")`),
  "a worker": (run) =>
    script(`new Worker(URL.createObjectURL(new Blob(['fetch("${run}", {mode: "no-cors"})'])))`),
};
// The service under a name with fetch metadata (loopback), and under one for which a browser sends none.
const HOSTS = ["127.0.0.1", "localhost", "sop.test"];

const form = (method, run, more = "") =>
  `<form method="${method}" action="${run}" ${more}><input name="runbook" value="relay-scale"></form>` +
  `<script>document.forms[0].submit()</script>`;
const script = (text) => `<script>${text}</script>`;

const listen = (server, host) => new Promise((done) => server.listen(0, host, () => done(server.address().port)));

async function until(what, holds) {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`${what}: not within 30 s`);
}

/// Starts the service on every address, without a token, and returns its port.
function serve(directory) {
  const args = ["serve", "--simulate", "--speed", "600", "--listen", ":0", "--allow-anonymous", "--restart-guard", "0"];
  const child = spawn(program, [...args, "--state-dir", directory], { stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => child.kill("SIGKILL"));
  return new Promise((done, failed) => {
    child.on("exit", (code) => failed(new Error(`the service ended with ${code}`)));
    createInterface({ input: child.stderr }).on("line", (line) => {
      const found = /^listening on http:\/\/.*:(\d+)$/.exec(line);
      if (found) done(Number(found[1]));
    });
  });
}

/// Passes each request on unchanged, its `Host` too, and records it with the answer.
function proxy(port, log) {
  const pass = (request, response) => {
    const { method, url, headers } = request;
    const options = { host: "127.0.0.1", port, method, path: url, headers };
    const onward = http.request(options, (answer) => {
      if (url.startsWith("/run?")) log.push({ method, url, status: answer.statusCode, headers });
      if (!response.writeHead) return response.end();
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  };
  return http.createServer(pass).on("upgrade", pass);
}

const directory = mkdtempSync(join(tmpdir(), "sop-browser-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const log = [];
const port = await listen(proxy(await serve(directory), log), "0.0.0.0");
let page_text = "";
const evil = await listen(
  http.createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(page_text)),
  "127.0.0.1",
);
const runs = async () => (await (await fetch(`http://127.0.0.1:${port}/runs`)).json()).runs;

const names = "MAP *.test 127.0.0.1";
const browser = await driver.launch({
  executablePath: chromium,
  args: ["--no-sandbox", `--host-resolver-rules=${names}`, "--autoplay-policy=no-user-gesture-required"],
});
const failures = [];
let count = 0;
for (const host of HOSTS) {
  for (const [name, attack] of Object.entries(ATTACKS)) {
    const run = `http://${host}:${port}/run?runbook=relay-scale`;
    log.length = 0;
    page_text = `<!doctype html>${attack(run)}`;
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`http://evil.test:${evil}/`, { waitUntil: "commit" }).catch(() => {});
    await until(`${name} at ${host}: a request`, () => log.length > 0).catch((error) => failures.push(error.message));
    await context.close();
    for (const { method, status } of log) {
      if (status < 400) failures.push(`${name} at ${host}: ${method} got ${status}`);
    }
    const started = (await runs()).length;
    if (started > 0) {
      failures.push(`${name} at ${host} started a run`);
      break;
    }
    count += 1;
  }
}

// What a person may do, so that the above is not passed by a service that starts nothing.
async function from_page(host, init) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://${host}:${port}/health`);
  const status = await page.evaluate(
    async ([url, init]) => (await fetch(url, init)).status,
    ["/run?runbook=relay-scale", init],
  );
  await context.close();
  return status;
}
const expect = (what, actual, expected) => {
  count += 1;
  if (actual !== expected) failures.push(`${what}: ${actual}, not ${expected}`);
};
expect("a page whose name was rebound to the service", await from_page("rebound.test", { method: "POST" }), 403);
expect("the same by GET", await from_page("rebound.test", {}), 403);
expect("runs after all attacks", (await runs()).length, 0);
for (const init of [{ method: "POST" }, {}]) {
  expect("a page of the service", await from_page("127.0.0.1", init), 200);
  await until("the end of the run", async () => (await runs()).every((run) => run.state !== "running"));
}
expect("runs after the service's own pages", (await runs()).length, 2);

await browser.close();
for (const failure of failures) console.error(failure);
console.log(`a browser's requests to the service: ${count} checked, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
