// The page of the service in a real browser: a run is started, watched, cancelled and rolled back; connections are cut,
// the service is killed and started again; eight windows, no JavaScript, a narrow window; no violation of axe, in light
// and in dark, and no error on the console under the page's own policy.
//
// [ONLY=PART OF A SCENARIO'S NAME] node page.mjs PLAYWRIGHT CHROMIUM PROGRAM AXE [--screenshots DIRECTORY]
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [playwright, chromium, program, axe_path, flag, screenshots] = process.argv.slice(2);
const { chromium: driver } = await import(pathToFileURL(playwright).href);
const axe = readFileSync(axe_path, "utf8");

// Closes a node for each of three, asks, and fails where a person rejects.
const ASK = `
name: ask
description: Closes nodes, and asks a person.
inputs:
  reason: {type: string, min_length: 3, default: maintenance, description: Why the nodes are closed}
  pause: {type: duration, default: 10m}
  mode: {type: enum, values: [slow, fast], default: slow}
steps:
- {id: relay, name: Find the pods of the relay, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
- id: close
  name: Close the nodes
  for_each: "{{ relay.nodes }}"
  action: cordon
  with: {nodes: ["{{ each }}"]}
- id: go
  name: Look at the nodes
  action: wait_approval
  with: {message: Are the nodes as they should be?, expires: 7d, not_by: [], ask: {ticket: {type: string, min_length: 3}}}
- {id: last, name: Find the pods again, action: list_pods, with: {namespace: rafay-core, deployment: rafay-relay}}
`;
// Asks another person three times.
const ASK_THRICE = `
name: ask-thrice
steps:
- {id: first, action: wait_approval, with: {message: Is it Monday?, expires: 7d}}
- {id: second, action: wait_approval, with: {message: Is it still Monday?, expires: 7d}}
- {id: third, action: wait_approval, with: {message: Is it Tuesday?, expires: 7d}}
`;
const BROKEN = "name: broken\nsteps:\n- {id: a, action: list_podz}\n";

const TIMEOUT = 90_000;
const failures = [];
let checked = 0;
let scenario = "";
function fail(what) {
  failures.push(scenario ? `${scenario}: ${what}` : what);
  console.error(failures.at(-1));
}
function check(what, holds, detail = "") {
  checked += 1;
  if (!holds) fail(`${what}${detail && `: ${detail}`}`);
}
const sleep = (millis) => new Promise((done) => setTimeout(done, millis));
async function until(what, holds) {
  for (const end = Date.now() + TIMEOUT; Date.now() < end; ) {
    const result = await holds();
    if (result) return result;
    await sleep(50);
  }
  throw new Error(`${what}: not within ${TIMEOUT / 1000} s`);
}

const directory = mkdtempSync(join(tmpdir(), "sop-page-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
mkdirSync(join(directory, "runbooks"));
writeFileSync(join(directory, "runbooks", "ask.yaml"), ASK.trimStart());
writeFileSync(join(directory, "runbooks", "ask-thrice.yaml"), ASK_THRICE.trimStart());
writeFileSync(join(directory, "runbooks", "broken.yaml"), BROKEN);

// The processes, networks and windows of the scenario.
const children = new Set();
const networks = [];
const contexts = [];
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
const start_program = (args, env = {}) => {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  children.add(child);
  child.on("exit", () => children.delete(child));
  return child;
};

/// Starts a simulated cluster that outlives the service, and returns the environment that leads to it.
async function simulate(speed) {
  const child = start_program(["simulate", "--speed", String(speed), "--kubeconfig-out", join(directory, "kubeconfig")]);
  child.stderr.resume();
  const env = {};
  for await (const line of createInterface({ input: child.stdout })) {
    const found = /^export (\w+)='?(.*?)'?$/.exec(line);
    if (found) env[found[1]] = found[2];
    if (env.KUBECONFIG && env.AWS_ENDPOINT_URL && env.AWS_SECRET_ACCESS_KEY && env.AWS_REGION) break;
  }
  return { child, env };
}

/// Starts the service, on the port where it was before if that is given, and before a simulated cluster of its own
/// unless there is one.
function serve(state, speed, port = 0, cluster) {
  const args = ["serve", "--speed", String(speed), "--listen", `127.0.0.1:${port}`];
  if (!cluster) args.push("--simulate");
  args.push("--state-dir", join(directory, state), "--runbooks", join(directory, "runbooks"));
  const child = start_program(args, cluster?.env);
  child.stdout.resume();
  return new Promise((done, failed) => {
    const failure = (code) => failed(new Error(`the service ended with ${code}`));
    child.on("exit", failure);
    createInterface({ input: child.stderr }).on("line", (line) => {
      const found = /^listening on http:\/\/.*:(\d+)$/.exec(line);
      if (!found) return;
      child.off("exit", failure);
      done({ child, port: Number(found[1]), url: `http://127.0.0.1:${found[1]}` });
    });
  });
}

/// A network between the browser and the service, which can be cut and mended.
async function network(port) {
  const sockets = new Set();
  let is_cut = false;
  const server = net.createServer((inner) => {
    if (is_cut) return inner.destroy();
    const outer = net.connect(port, "127.0.0.1");
    for (const [one, other] of [[inner, outer], [outer, inner]]) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => { sockets.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const cut = () => { is_cut = true; sockets.forEach((socket) => socket.destroy()); };
  const wire = { url: `http://127.0.0.1:${server.address().port}`, cut, mend: () => { is_cut = false; } };
  networks.push({ close: () => (cut(), server.close()) });
  return wire;
}

const browser = await driver.launch({ executablePath: chromium, args: ["--no-sandbox"] });

async function open_context(options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(TIMEOUT);
  contexts.push(context);
  return context;
}

/// A page whose console must stay empty, but for a refusal, and for what a cut connection says where that is meant.
async function open(options = {}, lossy = false) {
  const context = await open_context(options);
  const page = await context.newPage();
  page.on("pageerror", (error) => check("a script", false, error.message));
  page.on("console", (message) => {
    const text = message.text();
    const isExpected = /status of 4\d\d/.test(text) || (lossy && text.includes("net::ERR_"));
    if (isExpected || !["error", "warning"].includes(message.type())) return;
    check("the console", false, `${page.url()}: ${text}`);
  });
  return page;
}

/// Closes what a scenario has opened, the windows first: they would ask a service that is gone.
async function clean_up() {
  for (const context of contexts.splice(0)) await context.close();
  for (const one of networks.splice(0)) one.close();
  const ends = [...children].map((child) => new Promise((done) => {
    child.on("exit", done);
    child.kill("SIGKILL");
  }));
  await Promise.all(ends);
}

async function run_axe(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const violation of found.violations) {
    const nodes = violation.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join(" | ");
    check(`axe: ${what}`, false, `${violation.id}: ${nodes}`);
  }
  check(`axe: ${what}`, true);
}

/// Looks at a page in light and dark, and in a window of 360 pixels.
async function inspect(page, what) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await run_axe(page, `${what}, ${colorScheme}`);
  }
  const size = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 740 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  check(`${what} at 360 px`, width <= 360, `is ${width} px wide`);
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
}

const id_of = (page) => new URL(page.url()).pathname.split("/").at(-1);
const json = async (url) => (await fetch(url)).json();
const state_is = (page, word) => page.locator("#summary .chip", { hasText: word }).first().waitFor();
const press = async (page, action) => {
  await page.locator(`#do-${action} > summary`).click();
  await page.locator(`#do-${action} form button`).click();
};
async function start(page, url, runbook) {
  await page.goto(`${url}/runbooks/${runbook}`);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForURL("**/runs/**");
  return id_of(page);
}
/// Approves a step as a person at another address.
function approve(service, id, step) {
  const options = { method: "POST", localAddress: "127.0.0.2", headers: { "content-type": "application/json" } };
  return new Promise((done, failed) => {
    const request = http.request(`${service.url}/runs/${id}/approve`, options, (response) => {
      let text = "";
      response.on("data", (chunk) => { text += chunk; });
      response.on("end", () => (response.statusCode < 300 ? done() : failed(new Error(`${response.statusCode} ${text}`))));
    });
    request.on("error", failed);
    request.end(JSON.stringify({ step }));
  });
}
/// The lines of the log on the page are those that the service has, each once and in order.
async function check_log(page, service, what) {
  const id = id_of(page);
  const { logs } = await json(`${service.url}/status?run=${id}`);
  const lines = page.locator("#log > p");
  await until(`${what}: the log`, async () => (await lines.count()) === logs.length).catch(() => {});
  const shown = await lines.evaluateAll((all) => all.map((line) => line.textContent));
  const expected = logs.map((line) => line.replace(/^\[\S+ (\S+)\] /, "$1 "));
  const tidy = (text) => text.replace(/\s+/g, " ").trim();
  check(`${what}: the log is whole`, JSON.stringify(shown.map(tidy)) === JSON.stringify(expected.map(tidy)),
    `${shown.length} lines, not ${expected.length}`);
}
const shoot = async (page, name) => {
  if (flag !== "--screenshots") return;
  // Where this machine keeps its files is of no interest to a reader.
  await page.evaluate((path) => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(path, "/var/lib/relay-sop");
  }, directory);
  await page.screenshot({ path: join(screenshots, `${name}.png`) });
};

const SCENARIOS = {
  async "a run is started and watched to its end"() {
    const service = await serve("watch", 6);
    const page = await open({ viewport: { width: 1280, height: 900 } });
    await page.goto(service.url);
    await inspect(page, "the overview without runs");
    await page.getByRole("link", { name: "relay-scale", exact: true }).click();
    await inspect(page, "a runbook");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.waitForURL("**/runs/**");
    // Without a reload: a mark on the window stays.
    await page.evaluate(() => { window.mark = "same"; });
    await page.locator("#live[data-state=live]").waitFor();
    await page.locator("#now strong").first().waitFor();
    await page.locator(".bar rect[data-from]").first().waitFor({ state: "attached" });
    const overview = await open({ viewport: { width: 1280, height: 900 } });
    await overview.goto(service.url);
    await overview.locator("#open .openrun").waitFor();
    await shoot(overview, "page-overview");
    await shoot(page, "page-run");
    await inspect(page, "a running run");
    await state_is(page, "succeeded");
    check("the page was not loaded again", (await page.evaluate(() => window.mark)) === "same");
    await overview.locator("#latest .chip.ok").waitFor();
    await overview.locator("#open .empty").waitFor();
    check("no run is open on the overview", (await overview.locator("#open .openrun").count()) === 0);
    check("a run that is over has no buttons", (await page.locator("#actions:not([hidden])").count()) === 0);
    await check_log(page, service, "watched");
    await page.locator("#filter").fill("completed");
    const visible = await page.locator("#log > p:visible").allTextContents();
    check("the filter", visible.length > 0 && visible.every((line) => /completed/i.test(line)));
    await inspect(page, "a run that has succeeded");
    await inspect(overview, "the overview with runs");
  },

  async "a run is cancelled, resumed and rolled back"() {
    const service = await serve("cancel", 600);
    const page = await open();
    await start(page, service.url, "ask");
    await page.locator("#approvals form").first().waitFor();
    await inspect(page, "a run that waits for approval");
    // What was typed stays when the page changes around it.
    await page.getByLabel("Note").fill("half a thought");
    await press(page, "cancel");
    await state_is(page, "cancelled");
    await page.locator("#do-rollback").waitFor();
    await inspect(page, "a cancelled run");
    await press(page, "resume");
    await page.locator("#approvals form").first().waitFor();
    await page.locator("summary", { hasText: "Reject" }).click();
    await page.getByLabel("Reason").fill("one node is not empty");
    await page.getByRole("button", { name: "Reject", exact: true }).click();
    await page.locator("#notice .message").waitFor();
    await state_is(page, "failed");
    await inspect(page, "a failed run");
    const list = await page.locator("#do-rollback .effects li").count();
    check("the rollback lists what it undoes", list > 0);
    await shoot(page, "page-failed");
    await press(page, "rollback");
    await state_is(page, "rolled back");
    await check_log(page, service, "rolled back");
  },

  async "a stream that is cut continues without loss"() {
    const service = await serve("cut", 600);
    const wire = await network(service.port);
    const page = await open({}, true);
    const id = await start(page, wire.url, "ask-thrice");
    await page.locator("#approvals form").first().waitFor();
    // The reason why a request was refused stays when the page changes around it.
    await page.getByRole("button", { name: "Approve" }).click();
    await page.locator("#live[data-state=live]").waitFor();
    check("an answer that is refused leads back", new URL(page.url()).pathname === `/runs/${id}`, page.url());
    await page.evaluate(() => { window.mark = "same"; });
    const steps = ["first", "second", "third"];
    for (const [number, step] of steps.entries()) {
      await page.locator(`#approvals [id="title-${step}"]`).waitFor();
      await page.locator("#live[data-state=live]").waitFor();
      if (number === 0) {
        const refusal = await page.locator("#approvals [role=alert]").allTextContents();
        check("the refusal stays", refusal.length === 1 && refusal[0].includes("may not approve"), refusal.join());
      }
      wire.cut();
      await page.locator("#live[data-state=lost]").waitFor();
      await approve(service, id, step);
      await until(`what follows ${step}`, async () => {
        const { state, approvals } = await json(`${service.url}/status?run=${id}`);
        return state === "succeeded" || approvals?.some((one) => one.step === steps[number + 1]);
      });
      wire.mend();
      await page.locator("#live:not([data-state=lost])").waitFor({ state: "attached" });
      await check_log(page, service, `cut after ${step}`);
    }
    await state_is(page, "succeeded");
    check("the page was not loaded again", (await page.evaluate(() => window.mark)) === "same");
  },

  async "the service is killed and started again"() {
    const cluster = await simulate(600);
    const service = await serve("restart", 600, 0, cluster);
    const page = await open({}, true);
    await start(page, service.url, "ask");
    await page.locator("#approvals form").first().waitFor();
    await page.locator("#live[data-state=live]").waitFor();
    service.child.kill("SIGKILL");
    await page.locator("#live[data-state=lost]").waitFor();
    const again = await serve("restart", 600, service.port, cluster);
    // The run was continued, with which the page is loaded again, and asks again.
    await page.locator("#summary", { hasText: "resumed by" }).waitFor();
    await page.locator("#live[data-state=live]").waitFor();
    await page.locator("#approvals form").first().waitFor();
    await page.getByLabel("ticket").fill("OPS-1");
    await page.getByRole("button", { name: "Approve" }).click();
    await state_is(page, "succeeded");
    await check_log(page, again, "restarted");
  },

  async "eight windows are current"() {
    const service = await serve("windows", 600);
    const context = await open_context();
    // A headless browser shows every tab at once, as windows beside each other are; in one window, one is shown.
    await context.addInitScript(() => {
      let is_hidden = false;
      Object.defineProperty(Document.prototype, "hidden", { get: () => is_hidden });
      window.hide = (hidden) => {
        is_hidden = hidden;
        document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
      };
    });
    const first = await context.newPage();
    await start(first, service.url, "ask");
    const windows = [first];
    while (windows.length < 8) {
      const one = await context.newPage();
      await one.goto(first.url());
      await one.locator("#live[data-state=live]").waitFor();
      windows.push(one);
    }
    const streams = async () => {
      const text = await (await fetch(`${service.url}/metrics`)).text();
      return Number(/^\w+_streams (\d+)$/m.exec(text)[1]);
    };
    await until("four windows have a stream, and the others rest", async () => (await streams()) === 4);
    for (const [number, one] of windows.entries()) {
      await one.locator("#live", { hasText: number < 4 ? "every 5 s" : /^live$/ }).waitFor();
    }
    // The window to which a person turns has a stream again.
    await first.evaluate(() => window.dispatchEvent(new Event("focus")));
    await first.locator("#live", { hasText: /^live$/ }).waitFor();
    await windows[4].locator("#live", { hasText: "every 5 s" }).waitFor();
    const [hidden, shown] = [windows.slice(5), windows.slice(0, 5)];
    for (const one of hidden) await one.evaluate(() => window.hide(true));
    // Places are free again.
    for (const one of shown.filter((one) => one !== windows[1])) await one.locator("#live", { hasText: /^live$/ }).waitFor();
    await press(windows[2], "cancel");
    for (const one of shown) await state_is(one, "cancelled");
    for (const one of hidden) {
      check("a hidden tab does not follow", (await one.locator("#summary .chip", { hasText: "cancelled" }).count()) === 0);
      await one.evaluate(() => window.hide(false));
      await state_is(one, "cancelled");
    }
  },

  async "everything works without JavaScript"() {
    const service = await serve("plain", 600);
    const page = await open({ javaScriptEnabled: false });
    const reload_until = (selector) => until(selector, async () => {
      if (await page.locator(selector).count()) return true;
      await page.goto(page.url());
      return false;
    });
    await start(page, service.url, "ask");
    await reload_until("#approvals form");
    check("no filter is offered", !(await page.locator("#filter").isVisible()));
    check("times are there", /\d/.test(await page.locator("#summary .big").first().textContent()));
    await press(page, "cancel");
    await reload_until("#do-rollback");
    await press(page, "rollback");
    await reload_until("#summary .chip.off:has-text('rolled back')");
    await page.goto(`${service.url}/runbooks/ask`);
    await page.getByLabel("reason").fill("no");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.locator("#refused").waitFor();
    check("what was typed stays", (await page.getByLabel("reason").inputValue()) === "no");
  },

  async "a plan, findings and errors"() {
    const service = await serve("plan", 600);
    const page = await open();
    await page.goto(`${service.url}/runbooks/relay-scale`);
    await page.getByRole("button", { name: "Plan", exact: true }).click();
    await page.locator("#plan").waitFor();
    await inspect(page, "a plan");
    await page.goto(`${service.url}/runbooks/broken`);
    await inspect(page, "a runbook with errors");
    const missing = await open();
    await missing.goto(`${service.url}/runs/not-there`);
    await missing.locator(".notice").waitFor();
    await inspect(missing, "an error");
    await page.goto(`${service.url}/runbooks/ask`);
    await page.keyboard.press("Tab");
    check("the first stop of the keyboard skips to the content", (await page.evaluate(() => document.activeElement.className)) === "skip");
  },
};

const only = process.env.ONLY ?? "";
const chosen = Object.entries(SCENARIOS).filter(([name]) => name.includes(only));
if (chosen.length === 0) fail(`no scenario has ${only} in its name`);
for (const [name, run] of chosen) {
  scenario = name;
  const [began, before] = [Date.now(), failures.length];
  await run().catch((error) => fail(error.stack));
  await clean_up().catch((error) => fail(error.stack));
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  console.log(`${failures.length > before ? "FAILED" : "ok"} ${name} (${seconds} s)`);
}
await browser.close();
console.log(`the page in a browser: ${checked} checked, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
