// The schema in the language server that editors use for YAML: what it offers, what it explains, what it underlines.
// `node language_server.mjs PATH-OF-yaml-language-server`
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const SCHEMA = pathToFileURL("schema/runbook.schema.json").href;
// `│` marks the cursor.
const RUNBOOK = `# yaml-language-server: $schema=${SCHEMA}
name: book
defaults: {on_failure: rollback}
steps:
  - id: group
    action: find_nodegroup
    with:
      region: us-west-2
      cluster: relay
      labels: {Name: relay}
      min_nodes: 2
  - id: up
    action: scale_nodegroup
    with:
      nodegroup: "{{ group }}"
      desired: 4
      raise_max: true
    timeout: 20m
`;
const COMPLETIONS = [
  ["an action's name", RUNBOOK + "  - id: more\n    action: │", ["scale_nodegroup", "list_pods", "sleep"]],
  ["a parameter", RUNBOOK + "  - id: more\n    action: list_pods\n    with:\n      │", ["namespace", "deployment"]],
  ["a step's key", RUNBOOK + "  - id: more\n    action: list_pods\n    │", ["with", "when", "retry", "timeout", "log"]],
  ["a word", RUNBOOK + "    on_failure: │", ["rollback", "stop", "continue"]],
];
const HOVERS = [
  ["an action", "scale_nodegroup", "is decided once"],
  ["a parameter", "min_nodes", "nodes"],
  ["a step's key", "timeout", "The time limit of the step"],
];
const UNDERLINED = [
  ["an unknown parameter", RUNBOOK.replace("raise_max", "raise_mx"), "raise_mx"],
  ["an unknown action", RUNBOOK.replace("find_nodegroup", "find_nodegrop"), "find_nodegrop"],
  ["a wrong literal", RUNBOOK.replace("desired: 4", "desired: many"), "many"],
];

class Server {
  constructor(path) {
    this.child = spawn(process.execPath, [path, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
    this.waiting = new Map();
    this.published = new Map();
    this.next = 1;
    let buffer = Buffer.alloc(0);
    this.child.stdout.on("data", (chunk) => {
      buffer = Buffer.concat([buffer, chunk]);
      for (;;) {
        const end = buffer.indexOf("\r\n\r\n");
        if (end < 0) return;
        const length = Number(/Content-Length: (\d+)/i.exec(buffer.subarray(0, end).toString())[1]);
        if (buffer.length < end + 4 + length) return;
        this.take(JSON.parse(buffer.subarray(end + 4, end + 4 + length).toString()));
        buffer = buffer.subarray(end + 4 + length);
      }
    });
  }

  take(message) {
    if (message.method === "textDocument/publishDiagnostics") {
      const { uri, diagnostics } = message.params;
      this.published.get(uri)?.(diagnostics);
    } else if (message.method && message.id !== undefined) {
      // It asks for the editor's settings.
      const result = message.method === "workspace/configuration" ? message.params.items.map(setting) : null;
      this.send({ id: message.id, result });
    } else if (message.id !== undefined) {
      this.waiting.get(message.id)?.(message);
    }
  }

  send(message) {
    const text = JSON.stringify({ jsonrpc: "2.0", ...message });
    this.child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  ask(method, params) {
    const id = this.next++;
    this.send({ id, method, params });
    return new Promise((resolve, reject) =>
      this.waiting.set(id, ({ result, error }) => (error ? reject(new Error(error.message)) : resolve(result))),
    );
  }

  /** Opens a text as a file; resolves to what is underlined in it. */
  open(name, text) {
    const uri = `file:///tmp/${name}.yaml`;
    const diagnostics = new Promise((resolve) => this.published.set(uri, resolve));
    this.send({
      method: "textDocument/didOpen",
      params: { textDocument: { uri, languageId: "yaml", version: 1, text } },
    });
    return { uri, diagnostics };
  }
}

function setting({ section }) {
  const yaml = { validate: true, completion: true, hover: true, schemaStore: { enable: false } };
  return section === "yaml" ? yaml : {};
}

function position(text, offset) {
  const before = text.slice(0, offset).split("\n");
  return { line: before.length - 1, character: before.at(-1).length };
}

async function main() {
  const server = new Server(process.argv[2]);
  await server.ask("initialize", {
    processId: process.pid,
    rootUri: null,
    capabilities: { workspace: { configuration: true }, textDocument: { hover: {}, completion: {} } },
  });
  server.send({ method: "initialized", params: {} });
  const failures = [];
  let passed = 0;
  const judge = (what, holds, found) => (holds ? passed++ : failures.push(`${what}: ${JSON.stringify(found)}`));

  const good = server.open("good", RUNBOOK);
  const underlined = await good.diagnostics;
  judge("nothing is underlined in a good runbook", underlined.length === 0, underlined);

  for (const [index, [what, marked, wanted]] of COMPLETIONS.entries()) {
    const offset = marked.indexOf("│");
    const { uri } = server.open(`completion-${index}`, marked.replace("│", ""));
    const answer = await server.ask("textDocument/completion", {
      textDocument: { uri },
      position: position(marked, offset),
    });
    const labels = (answer.items ?? answer).map((item) => item.label);
    judge(`${what} is completed`, wanted.every((label) => labels.includes(label)), labels);
  }
  for (const [what, word, words] of HOVERS) {
    const at = position(RUNBOOK, RUNBOOK.indexOf(word) + 2);
    const answer = await server.ask("textDocument/hover", { textDocument: { uri: good.uri }, position: at });
    const text = JSON.stringify(answer?.contents ?? "");
    judge(`${what} is explained`, text.includes(words), text);
  }
  for (const [index, [what, text, word]] of UNDERLINED.entries()) {
    const diagnostics = await server.open(`wrong-${index}`, text).diagnostics;
    const start = position(text, text.indexOf(word));
    const found = diagnostics.some(({ range }) => range.start.line === start.line);
    judge(`${what} is underlined`, found, diagnostics);
  }
  console.log(failures.length ? failures.join("\n") : `yaml-language-server: ${passed} questions, all answered well`);
  process.exit(failures.length ? 1 : 0);
}

setTimeout(() => {
  console.error("the language server did not answer within two minutes");
  process.exit(1);
}, 120_000).unref();
await main();
