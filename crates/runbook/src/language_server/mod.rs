//! The language server: the diagnostics of `validate` while a runbook is written, and what `editor` knows of a place,
//! in the Language Server Protocol over two byte streams.
//!
//! The protocol is JSON of which little is used, so the messages are read and written as JSON values. A message that is
//! not what the protocol says is answered with an error and changes nothing.

mod answers;
mod documents;
mod positions;
mod transport;
mod uri;

use std::{
    collections::BTreeSet,
    io::{self, BufReader, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
};

use serde_json::{Value as Json, json};

use crate::{ActionRegistry, Library, Source};
use documents::Documents;
use positions::Encoding;
use transport::Incoming;

/// Serves one client until it says `exit` or closes the stream. Returns whether it has said before that it would.
/// `others` are the runbooks that a document can call besides those in its directory.
///
/// # Errors
/// The output cannot be written.
pub fn serve(
    input: impl Read + Send + 'static,
    output: &mut dyn Write,
    registry: &ActionRegistry,
    others: &dyn Library,
) -> io::Result<bool> {
    let (sender, messages) = mpsc::channel();
    // The thread ends with the stream, or with the process.
    thread::spawn(move || {
        let mut input = BufReader::new(input);
        while let Ok(Some(message)) = transport::read(&mut input) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let documents = Documents::default();
    let client = client(&Json::Null);
    let mut server = Server { registry, others, documents, client, state: State::Started };
    server.run(&messages, output)
}

/// The capabilities of the client that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client {
    encoding: Encoding,
    /// Whether it shows the places of a diagnostic's labels.
    has_related_information: bool,
    /// Whether it shows an outline with ranges.
    has_document_symbols: bool,
    /// Whether it reports changes of files that it is asked to watch.
    watches_files: bool,
}

/// The state of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Started,
    Initialized,
    ShutDown,
}

struct Server<'s> {
    registry: &'s ActionRegistry,
    others: &'s dyn Library,
    documents: Documents,
    client: Client,
    state: State,
}

/// An error of a request: the code of the protocol, and a message.
type RequestError = (i32, String);

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;
const NOT_INITIALIZED: i32 = -32002;

impl Server<'_> {
    fn run(&mut self, messages: &Receiver<Incoming>, output: &mut dyn Write) -> io::Result<bool> {
        let mut unchecked: BTreeSet<String> = BTreeSet::new();
        loop {
            // A document is checked when no message waits: of several changes, the last is the one that counts.
            let message = match unchecked.is_empty() {
                true => messages.recv().map_err(|_| TryRecvError::Disconnected),
                false => messages.try_recv(),
            };
            let message = match message {
                Ok(Incoming::Message(message)) => message,
                Ok(Incoming::Malformed(reason)) => {
                    transport::write(output, &failed(&Json::Null, (PARSE_ERROR, reason)))?;
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(self.state == State::ShutDown),
                Err(TryRecvError::Empty) => {
                    if let Some(uri) = unchecked.pop_first() {
                        self.publish(&uri, output)?;
                    }
                    continue;
                }
            };
            let method = message["method"].as_str().unwrap_or_default();
            if method == "exit" {
                return Ok(self.state == State::ShutDown);
            }
            match (message.get("id"), message.get("method")) {
                (Some(id), Some(_)) => {
                    let answer =
                        match self.guarded(|server| server.answer(method, &message["params"])) {
                            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                            Err(error) => failed(id, error),
                        };
                    transport::write(output, &answer)?;
                }
                (None, Some(_)) => {
                    let params = &message["params"];
                    let changed = self.guarded(|server| Ok(server.take(method, params)));
                    unchecked.extend(changed.unwrap_or_default());
                    if method == "initialized" && self.client.watches_files {
                        transport::write(output, &watch_request())?;
                    }
                }
                // An answer to the request above.
                (Some(_), None) if message.get("result").or(message.get("error")).is_some() => {}
                (id, None) => {
                    let error = (INVALID_REQUEST, "a message without a method".to_owned());
                    transport::write(output, &failed(id.unwrap_or(&Json::Null), error))?;
                }
            }
        }
    }

    /// Keeps a bug in an answer from ending the editor's session.
    fn guarded<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, RequestError>,
    ) -> Result<R, RequestError> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        done.unwrap_or_else(|_| Err((INTERNAL_ERROR, "the request failed".to_owned())))
    }

    /// Answers a request.
    fn answer(&mut self, method: &str, params: &Json) -> Result<Json, RequestError> {
        match (self.state, method) {
            (State::Started, "initialize") => {
                self.state = State::Initialized;
                self.client = client(&params["capabilities"]);
                Ok(self.capabilities())
            }
            (State::Started, _) => {
                Err((NOT_INITIALIZED, "the first request is initialize".to_owned()))
            }
            (State::Initialized, "shutdown") => {
                self.state = State::ShutDown;
                Ok(Json::Null)
            }
            (State::Initialized, _) => self.answer_about_document(method, params),
            (State::ShutDown, _) => {
                Err((INVALID_REQUEST, "the server was told to shut down".to_owned()))
            }
        }
    }

    fn answer_about_document(&self, method: &str, params: &Json) -> Result<Json, RequestError> {
        let about: fn(&Self, &str, &Source, &Json) -> Option<Json> = match method {
            "textDocument/completion" => Self::completion,
            "textDocument/hover" => Self::hover,
            "textDocument/definition" => Self::definition,
            "textDocument/documentSymbol" => {
                |server, uri, source, _| Some(server.document_symbols(uri, source))
            }
            "textDocument/codeAction" => Self::code_actions,
            _ => return Err((METHOD_NOT_FOUND, format!("{method} is not supported"))),
        };
        let uri = params["textDocument"]["uri"].as_str();
        let uri = uri.ok_or_else(|| (INVALID_PARAMS, "textDocument.uri is missing".to_owned()))?;
        // A document that is not open has no answers.
        let Some(document) = self.documents.get(uri) else { return Ok(Json::Null) };
        about(self, uri, &document.source, params)
            .ok_or_else(|| (INVALID_PARAMS, "not a position of a text".to_owned()))
    }

    /// Takes a notification, and returns the documents to check.
    fn take(&mut self, method: &str, params: &Json) -> Vec<String> {
        let document = &params["textDocument"];
        let uri = document["uri"].as_str();
        match (self.state, method, uri) {
            (State::Initialized, "textDocument/didOpen", Some(uri)) => {
                let Some(text) = document["text"].as_str() else { return Vec::new() };
                self.documents.set(uri, text, document["version"].as_i64());
                self.with_callers(uri)
            }
            (State::Initialized, "textDocument/didChange", Some(uri)) => {
                // The client was told to send the whole text.
                let change = params["contentChanges"].as_array().and_then(|changes| changes.last());
                let text = change.filter(|change| change.get("range").is_none());
                let Some(text) = text.and_then(|change| change["text"].as_str()) else {
                    return Vec::new();
                };
                self.documents.set(uri, text, document["version"].as_i64());
                self.with_callers(uri)
            }
            (State::Initialized, "textDocument/didClose", Some(uri)) => {
                self.documents.close(uri);
                self.with_callers(uri)
            }
            (State::Initialized, "textDocument/didSave" | "workspace/didChangeWatchedFiles", _) => {
                self.documents.uris()
            }
            _ => Vec::new(),
        }
    }

    /// Returns a document and those that may call it.
    fn with_callers(&self, uri: &str) -> Vec<String> {
        self.documents.callers().map(str::to_owned).chain([uri.to_owned()]).collect()
    }

    fn capabilities(&self) -> Json {
        json!({
            "capabilities": {
                "positionEncoding": self.client.encoding.name(),
                "textDocumentSync": { "openClose": true, "change": 1, "save": true },
                "completionProvider": { "triggerCharacters": [".", ":", "|", " ", "{", "'"] },
                "hoverProvider": true,
                "definitionProvider": true,
                "documentSymbolProvider": true,
                "codeActionProvider": { "codeActionKinds": ["quickfix", "source.fixAll"] },
            },
            "serverInfo": { "name": "rafay-relay-sop", "version": env!("CARGO_PKG_VERSION") },
        })
    }
}

fn client(capabilities: &Json) -> Client {
    let flag = |pointer: &str| capabilities.pointer(pointer) == Some(&Json::Bool(true));
    let encodings = capabilities.pointer("/general/positionEncodings").and_then(Json::as_array);
    let has_utf8 = encodings.is_some_and(|names| names.iter().any(|name| name == "utf-8"));
    Client {
        encoding: if has_utf8 { Encoding::Utf8 } else { Encoding::Utf16 },
        has_related_information: flag("/textDocument/publishDiagnostics/relatedInformation"),
        has_document_symbols: flag(
            "/textDocument/documentSymbol/hierarchicalDocumentSymbolSupport",
        ),
        watches_files: flag("/workspace/didChangeWatchedFiles/dynamicRegistration"),
    }
}

/// Asks the client for changes of runbooks, which open ones may call.
fn watch_request() -> Json {
    json!({
        "jsonrpc": "2.0",
        "id": "watch",
        "method": "client/registerCapability",
        "params": { "registrations": [{
            "id": "runbooks",
            "method": "workspace/didChangeWatchedFiles",
            "registerOptions": { "watchers": [{ "globPattern": "**/*.{yaml,yml}" }] },
        }] },
    })
}

fn failed(id: &Json, (code, message): RequestError) -> Json {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

#[cfg(test)]
mod tests;
