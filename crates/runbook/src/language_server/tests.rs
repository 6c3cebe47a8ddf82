//! A client and the server, over streams in memory.

use std::io::Cursor;

use serde_json::{Value as Json, json};

use super::serve;
use crate::editor_tests::{library, registry};

const URI: &str = "file:///books/book.yaml";

/// Sends messages, and returns what the server sent, and whether it ended as it should.
fn conversation(messages: &[Json]) -> (Vec<Json>, bool) {
    let mut input = Vec::new();
    for message in messages {
        super::transport::write(&mut input, message).unwrap();
    }
    conversation_of(input)
}

fn conversation_of(input: Vec<u8>) -> (Vec<Json>, bool) {
    let mut output = Vec::new();
    let ended = serve(Cursor::new(input), &mut output, &registry(), &library()).unwrap();
    let mut sent = Vec::new();
    let mut output = output.as_slice();
    while let Some(super::Incoming::Message(message)) = super::transport::read(&mut output).unwrap()
    {
        sent.push(message);
    }
    (sent, ended)
}

fn request(id: u32, method: &str, params: Json) -> Json {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn notification(method: &str, params: Json) -> Json {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The messages of a client that opens a text and asks one question.
fn about(text: &str, encodings: Json, method: &str, params: Json) -> Json {
    let mut params = params;
    params["textDocument"] = json!({ "uri": URI });
    let capabilities = json!({ "general": { "positionEncodings": encodings } });
    let (sent, ended) = conversation(&[
        request(1, "initialize", json!({ "capabilities": capabilities })),
        notification("initialized", json!({})),
        notification(
            "textDocument/didOpen",
            json!({ "textDocument": { "uri": URI, "version": 1, "text": text } }),
        ),
        request(2, method, params),
        request(3, "shutdown", Json::Null),
        notification("exit", Json::Null),
    ]);
    assert!(ended);
    sent.into_iter().find(|message| message["id"] == 2).unwrap()["result"].clone()
}

const TEXT: &str = "name: book\nsteps:\n  - {id: group, action: find_group, with: {region: us-west-2}}\n  - id: up\n    name: \"🚀 {{ group.sise }}\"\n    action: scale\n    with: {group: \"{{ group }}\", desired: 3}\n";

#[test]
fn diagnostics_are_sent_when_a_text_is_opened_changed_and_closed() {
    let version = |text: &str, version: u32| {
        json!({
            "textDocument": { "uri": URI, "version": version },
            "contentChanges": [{ "text": text }],
        })
    };
    let mut server = super::Server {
        registry: &registry(),
        others: &library(),
        documents: super::Documents::default(),
        client: super::client(&Json::Null),
        state: super::State::Initialized,
    };
    let published = |server: &super::Server<'_>| {
        let mut output = Vec::new();
        server.publish(URI, &mut output).unwrap();
        match super::transport::read(&mut output.as_slice()).unwrap() {
            Some(super::Incoming::Message(message)) => message["params"].clone(),
            other => panic!("{other:?}"),
        }
    };
    let open = json!({ "textDocument": { "uri": URI, "version": 1, "text": TEXT } });
    assert_eq!(server.take("textDocument/didOpen", &open), [URI]);
    let sent = published(&server);
    assert_eq!((&sent["uri"], &sent["version"]), (&json!(URI), &json!(1)));
    let wrong = &sent["diagnostics"][0];
    assert_eq!((&wrong["code"], &wrong["severity"]), (&json!("RB027"), &json!(1)));
    // The rocket is two code units.
    let range =
        json!({ "start": { "line": 4, "character": 23 }, "end": { "line": 4, "character": 27 } });
    assert_eq!(wrong["range"], range);
    server.take("textDocument/didChange", &version(&TEXT.replace("sise", "size"), 2));
    assert_eq!(published(&server)["diagnostics"], json!([]));
    server.take("textDocument/didClose", &json!({ "textDocument": { "uri": URI } }));
    assert_eq!(published(&server)["diagnostics"], json!([]));
}

#[test]
fn a_place_is_counted_in_the_encoding_that_was_agreed() {
    for (encodings, character) in
        [(Json::Null, 20), (json!(["utf-16"]), 20), (json!(["utf-16", "utf-8"]), 22)]
    {
        let position = json!({ "position": { "line": 4, "character": character } });
        let hover = about(TEXT, encodings, "textDocument/hover", position);
        let text = hover["contents"]["value"].as_str().unwrap();
        assert!(text.starts_with("`group`"), "{text}");
        assert_eq!(hover["range"]["start"]["character"], character - 3);
    }
}

#[test]
fn completion_definition_and_outline_are_answered() {
    let at =
        |line: u32, character: u32| json!({ "position": { "line": line, "character": character } });
    let offered = about(TEXT, Json::Null, "textDocument/completion", at(4, 23));
    let labels: Vec<&str> = offered["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["region", "name", "size", "nodes"]);
    let edit = &offered["items"][2]["textEdit"];
    assert_eq!(
        (&edit["newText"], &edit["range"]["start"]["character"]),
        (&json!("size"), &json!(23))
    );

    let declared = about(TEXT, Json::Null, "textDocument/definition", at(4, 20));
    assert_eq!(declared["range"]["start"], json!({ "line": 2, "character": 9 }));

    let outline = about(TEXT, Json::Null, "textDocument/documentSymbol", json!({}));
    let names: Vec<&Json> = outline.as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["group", "up"]);
}

#[test]
fn a_suggestion_is_a_quick_fix() {
    let range =
        json!({ "start": { "line": 4, "character": 24 }, "end": { "line": 4, "character": 24 } });
    let actions = about(
        TEXT,
        Json::Null,
        "textDocument/codeAction",
        json!({ "range": range, "context": { "diagnostics": [] } }),
    );
    assert_eq!(actions[0]["title"], "Replace 'sise' with 'size'");
    assert_eq!(actions[0]["edit"]["changes"][URI][0]["newText"], "size");
    let only = json!({ "range": range, "context": { "diagnostics": [], "only": ["source"] } });
    let actions = about(TEXT, Json::Null, "textDocument/codeAction", only);
    assert_eq!(actions[0]["edit"]["changes"][URI][0]["newText"], TEXT.replace("sise", "size"));
}

#[test]
fn a_client_that_does_not_follow_the_protocol_is_told_so() {
    let codes = |messages: &[Json]| -> Vec<Json> {
        conversation(messages).0.iter().map(|answer| answer["error"]["code"].clone()).collect()
    };
    let start = request(1, "initialize", Json::Null);
    let hover = |params: Json| request(2, "textDocument/hover", params);
    let open = notification(
        "textDocument/didOpen",
        json!({ "textDocument": { "uri": URI, "text": TEXT } }),
    );
    let document = json!({ "uri": URI });
    assert_eq!(codes(&[hover(json!({}))]), [-32002]);
    assert_eq!(
        codes(&[start.clone(), request(2, "workspace/unknown", json!({}))]),
        [json!(null), json!(-32601)]
    );
    assert_eq!(codes(&[start.clone(), hover(json!({}))]), [json!(null), json!(-32602)]);
    assert_eq!(codes(&[json!([1]), json!(7), json!({ "id": 1 })]), [-32600, -32600, -32600]);
    let position = json!({ "textDocument": document, "position": { "line": -1 } });
    let sent = conversation(&[start.clone(), open.clone(), hover(position)]).0;
    assert!(sent.iter().any(|message| message["error"]["code"] == -32602), "{sent:?}");
    let shut_down = request(3, "shutdown", Json::Null);
    assert_eq!(
        codes(&[start.clone(), shut_down, hover(json!({}))]),
        [json!(null), json!(null), json!(-32600)]
    );
    let strange = ["didOpen", "didChange", "didClose", "didSave"].map(|name| {
        notification(
            &format!("textDocument/{name}"),
            json!({ "textDocument": [URI], "contentChanges": { "text": 1 } }),
        )
    });
    assert_eq!(codes(&[&[start], &strange[..]].concat()), [json!(null)]);
    let malformed = b"Content-Length: 3\r\n\r\n{a}Content-Length: 0\r\n\r\n".to_vec();
    let errors = conversation_of(malformed).0;
    assert_eq!(
        errors.iter().map(|one| &one["error"]["code"]).collect::<Vec<_>>(),
        [-32700, -32700]
    );
}

/// An editor may send every YAML file.
#[test]
fn only_runbooks_have_diagnostics() {
    let found = |uri: &str, text: &str| {
        let mut server = super::Server {
            registry: &registry(),
            others: &library(),
            documents: super::Documents::default(),
            client: super::client(&Json::Null),
            state: super::State::Initialized,
        };
        let document = json!({ "uri": uri, "text": text });
        server.take("textDocument/didOpen", &json!({ "textDocument": document }));
        let mut output = Vec::new();
        server.publish(uri, &mut output).unwrap();
        !String::from_utf8(output).unwrap().contains("\"diagnostics\":[]")
    };
    let manifest = "apiVersion: v1\nkind: Pod\n";
    assert!(!found("file:///k8s/pod.yaml", manifest));
    assert!(found("file:///runbooks/pod.yaml", manifest));
    assert!(found("file:///k8s/pod.yaml", "name: pod\nsteps:\n"));
    assert!(found("file:///k8s/pod.yaml", "# $schema=runbook.schema.json\nname: pod\n"));
}
