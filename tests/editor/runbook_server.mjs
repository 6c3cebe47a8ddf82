// The program's own language server, as an editor uses it: over pipes, with Microsoft's client of the protocol.
// `node runbook_server.mjs DIRECTORY-OF-node_modules COMMAND [ARGUMENT]…`
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, ...command] = process.argv.slice(2);
const require = createRequire(join(modules, "x.js"));
const protocol = require("vscode-languageserver-protocol/node");
const { TextDocument } = require("vscode-languageserver-textdocument");

// `‸` marks the cursor.
const CALLED = `name: called
inputs: {zone: {type: string, description: Where}}
steps:
  - {id: rest, action: sleep, with: {duration: 5s}}
outputs: {zone: "{{ inputs.zone }}"}
`;
const RUNBOOK = `name: book
description: "🚀 é"
inputs: {count: {type: integer, default: 2}}
defaults: {on_failure: stop}
steps:
  - id: group
    action: find_nodegroup
    with: {region: us-west-2, cluster: relay, labels: {Name: relay}}
  - id: up
    name: "🚀🚀 {{ group.name }}"
    action: scale_nodegroup
    with: {nodegroup: "{{ group }}", desired: "{{ group.desired * inputs.count }}"}
    log: "{{ up.desired }} nodes"
  - id: other
    call: called
    with: {zone: "{{ group.name }}"}
    log: "{{ other.zone }}"
`;
const COMPLETIONS = [
  ["an action", RUNBOOK + "  - id: more\n    action: ‸", ["scale_nodegroup", "list_pods", "sleep"]],
  ["a runbook", RUNBOOK + "  - id: more\n    call: ‸", ["called", "drain-node"]],
  ["a parameter", RUNBOOK.replace('desired: "', 'rai‸, desired: "'), ["raise_max"]],
  ["the input of a runbook", RUNBOOK.replace('{zone: "{{ group.name }}"}', "{‸}"), ["zone"]],
  ["a key of a step", RUNBOOK + "    ‸", ["when", "retry", "timeout"]],
  ["a word", RUNBOOK.replace("stop}", "‸}"), ["rollback", "stop", "continue"]],
  ["a name", RUNBOOK + '    when: "{{ ‸', ["inputs", "group", "up"]],
  ["a field", RUNBOOK.replace("group.name }}\"\n    action", "group.‸ }}\"\n    action"), ["name", "desired", "labels"]],
  ["a filter", RUNBOOK + '    when: "{{ group.labels | ‸ }}"', ["length", "join"]],
  ["a fitting output", RUNBOOK.replace('"{{ group }}"', "‸"), ['"{{ group }}"']],
];
const HOVERS = [
  ["an action", "scale_node‸group", "nodegroup"],
  ["a parameter", "labe‸ls: {", "labels: optional map of string"],
  ["a field behind emoji", "group.na‸me }}\"\n    action", "name: nodegroup name"],
  ["an input", "inputs.cou‸nt", "count: integer"],
];
const DEFINITIONS = [
  ["a step", "{{ gro‸up.name }}\"\n    action", "book.yaml", "group\n    action: find"],
  ["an input", "inputs.cou‸nt", "book.yaml", "count: {"],
  ["a runbook", "call: cal‸led", "called.yaml", "name: called"],
  ["the input of a runbook", "{zo‸ne: \"{{", "called.yaml", "zone: {type"],
];

const dir = mkdtempSync(join(tmpdir(), "sop lsp é "));
const uri = pathToFileURL(join(dir, "book.yaml")).href;
writeFileSync(join(dir, "called.yaml"), CALLED);
const failures = [];
let passed = 0;
const judge = (what, holds, found) => (holds ? passed++ : failures.push(`${what}: ${JSON.stringify(found)}`));

/** A client with a document open, whose positions are counted in an encoding. */
class Client {
  constructor(encoding) {
    this.encoding = encoding;
    this.child = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = new Promise((resolve) => this.child.on("exit", resolve));
    this.connection = protocol.createProtocolConnection(
      new protocol.StreamMessageReader(this.child.stdout),
      new protocol.StreamMessageWriter(this.child.stdin),
    );
    this.published = new Map();
    this.connection.onNotification(protocol.PublishDiagnosticsNotification.type, (params) =>
      this.published.get(`${params.uri} ${params.version}`)?.(params.diagnostics),
    );
    this.registered = new Promise((resolve) =>
      this.connection.onRequest(protocol.RegistrationRequest.type, ({ registrations }) => resolve(registrations)),
    );
    this.connection.listen();
    this.version = 0;
  }

  async start() {
    const answer = await this.connection.sendRequest(protocol.InitializeRequest.type, {
      processId: process.pid,
      rootUri: pathToFileURL(dir).href,
      capabilities: {
        general: { positionEncodings: this.encoding ? [this.encoding, "utf-16"] : undefined },
        textDocument: {
          publishDiagnostics: { relatedInformation: true },
          documentSymbol: { hierarchicalDocumentSymbolSupport: true },
        },
        workspace: { didChangeWatchedFiles: { dynamicRegistration: true } },
      },
    });
    await this.connection.sendNotification(protocol.InitializedNotification.type, {});
    return answer;
  }

  /** Shows a text in the document; resolves to what is found in it. */
  show(text) {
    const version = ++this.version;
    const diagnostics = new Promise((resolve) => this.published.set(`${uri} ${version}`, resolve));
    const document = { uri, version, languageId: "yaml", text };
    if (version === 1) {
      this.connection.sendNotification(protocol.DidOpenTextDocumentNotification.type, { textDocument: document });
    } else {
      const change = { textDocument: { uri, version }, contentChanges: [{ text }] };
      this.connection.sendNotification(protocol.DidChangeTextDocumentNotification.type, change);
    }
    this.document = TextDocument.create(uri, "yaml", version, text);
    return diagnostics;
  }

  /** The position of an offset, as this client counts. */
  position(offset) {
    const { line, character } = this.document.positionAt(offset);
    if (this.encoding !== "utf-8") return { line, character };
    const start = this.document.offsetAt({ line, character: 0 });
    return { line, character: Buffer.byteLength(this.document.getText().slice(start, offset)) };
  }

  ask(type, offset) {
    return this.connection.sendRequest(type, { textDocument: { uri }, position: this.position(offset) });
  }

  async stop() {
    await this.connection.sendRequest(protocol.ShutdownRequest.type);
    await this.connection.sendNotification(protocol.ExitNotification.type);
    return this.ended;
  }
}

/** The offset of a marked place, in the runbook. */
function place(marked) {
  const at = RUNBOOK.indexOf(marked.replace("‸", ""));
  if (at < 0) throw new Error(`${marked} is not in the runbook`);
  return at + marked.indexOf("‸");
}

async function use(encoding) {
  const client = new Client(encoding);
  const { capabilities } = await client.start();
  judge("the encoding is agreed", capabilities.positionEncoding === (encoding ?? "utf-16"), capabilities);
  const [watched] = await client.registered;
  judge("runbooks are watched", watched.method === "workspace/didChangeWatchedFiles", watched);

  const clean = await client.show(RUNBOOK);
  judge("a good runbook has no error", clean.every(({ severity }) => severity > 2), clean);

  for (const [what, marked, labels] of COMPLETIONS) {
    client.show(marked.replace("‸", ""));
    const answer = await client.ask(protocol.CompletionRequest.type, marked.indexOf("‸"));
    const offered = answer.items.map((item) => item.label);
    judge(`${what} is completed`, labels.every((label) => offered.includes(label)), offered);
  }
  await client.show(RUNBOOK);
  for (const [what, marked, words] of HOVERS) {
    const answer = await client.ask(protocol.HoverRequest.type, place(marked));
    judge(`${what} is explained`, answer?.contents.value.includes(words), answer);
  }
  for (const [what, marked, file, begins] of DEFINITIONS) {
    const answer = await client.ask(protocol.DefinitionRequest.type, place(marked));
    const text = file === "book.yaml" ? RUNBOOK : CALLED;
    const found = TextDocument.create(answer?.uri ?? "", "yaml", 1, text);
    const start = answer ? found.offsetAt(answer.range.start) : 0;
    const holds = answer?.uri === pathToFileURL(join(dir, file)).href && text.slice(start).startsWith(begins);
    judge(`${what} is declared there`, holds, answer);
  }
  const outline = await client.connection.sendRequest(protocol.DocumentSymbolRequest.type, { textDocument: { uri } });
  const names = outline.map(({ name }) => name).join();
  judge("the outline has the steps", names === "count,group,up,other", outline);

  // A mistake behind characters that are longer in UTF-16 than in characters: underlined, fixed, and gone.
  const wrong = await client.show(RUNBOOK.replace("🚀🚀 {{ group.name", "🚀🚀 {{ group.nmae"));
  const [{ range, code }] = wrong.filter(({ severity }) => severity === 1);
  const at = client.document.getText().indexOf("nmae");
  const expected = { start: client.position(at), end: client.position(at + 4) };
  judge("the mistake is underlined", code === "RB027" && JSON.stringify(range) === JSON.stringify(expected), wrong);
  const actions = await client.connection.sendRequest(protocol.CodeActionRequest.type, {
    textDocument: { uri },
    range,
    context: { diagnostics: wrong },
  });
  judge("a quick fix is offered", actions[0]?.kind === "quickfix", actions);
  const [edit] = actions[0].edit.changes[uri];
  if (encoding !== "utf-8") {
    const fixed = TextDocument.applyEdits(client.document, [edit]);
    judge("the quick fix is right", fixed === RUNBOOK, fixed);
    const after = await client.show(fixed);
    judge("the fixed runbook is clean", after.every(({ severity }) => severity > 2), after);
  }

  // A runbook that is written from the first character to the last.
  const text = readFileSync("runbooks/relay-scale.yaml", "utf8").replace("name: relay-scale", "name: book");
  for (let end = 0; end < text.length; end += 97) {
    client.show(text.slice(0, end));
    const answer = await client.ask(protocol.CompletionRequest.type, end);
    judge("every place is answered", Array.isArray(answer.items), answer);
  }
  const whole = await client.show(text);
  judge("the written runbook is clean", whole.every(({ severity }) => severity > 2), whole);

  const error = await client.connection.sendRequest("workspace/symbol", { query: "" }).catch((error) => error);
  judge("what is not supported is refused", error.code === -32601, error);
  judge("it ends with success", (await client.stop()) === 0, "another exit code");
}

setTimeout(() => {
  console.error("the language server of runbooks did not answer within two minutes");
  process.exit(1);
}, 120_000).unref();
for (const encoding of [undefined, "utf-8"]) await use(encoding);
console.log(failures.length ? failures.join("\n") : `the language server of runbooks: ${passed} questions, all answered well`);
process.exit(failures.length ? 1 : 0);
