//! Texts with one mistake, each with the place and the message.

use crate::{ActionRegistry, Source, check};

/// The lines before a mistake.
const BEFORE: &str = "name: x\nsteps:\n  - id: a\n    action: sleep\n";
/// The lines after it.
const AFTER: &str = "  - id: b\n    action: sleep\n    with: {duration: 5s}\n";

/// Lines of a step, with the line among them, the column and the message.
#[rustfmt::skip]
const IN_A_STEP: &[(&str, usize, usize, &str)] = &[
    ("    with: {duration: 5s}\n  - id: c\n    action: cordon\n    with: {nodes: [a, b}\n", 4, 19, "this '[' is not closed: a ']' is missing"),
    ("    with:\n      duration: [5s\n", 2, 17, "this '[' is not closed: a ']' is missing"),
    ("    with: {duration: 5s\n", 1, 11, "this '{' is not closed: a '}' is missing"),
    ("    with: {duration: 5s\n", 1, 11, "this '{' is not closed: a '}' is missing"),
    ("    with: {duration: \"5s}\n", 1, 22, "the string that starts here has no closing quote (\")"),
    ("    name: \"abc\n    with: {duration: \"5s\"}\n", 1, 11, "the string that starts here has no closing quote (\")"),
    ("    name: 'abc\n    with: {duration: 5s}\n", 1, 11, "the string that starts here has no closing quote (')"),
    ("    name: 'abc\n    with: {duration: '5s'}\n", 1, 11, "the string that starts here has no closing quote (')"),
    ("    name: \"{{ x[\"y\"] }}\"\n    with: {duration: 5s}\n", 1, 17, "this \" ends the string, but its text goes on"),
    ("    name: \"say \"hi\"\"\n    with: {duration: 5s}\n", 1, 16, "this \" ends the string, but its text goes on"),
    ("    with: {duration: \"{{ x[\"y\"] }}\"}\n", 1, 28, "this \" ends the string, but its text goes on"),
    ("    name: 'it's'\n    with: {duration: 5s}\n", 1, 14, "this ' ends the string, but its text goes on"),
    ("    with: {duration: 5s}\n  id: b\n    action: sleep\n    with: {duration: 5s}\n", 2, 3, "a '-' is missing before 'id': each item of a list starts with '- '"),
    ("    with: {duration: 5s}\n  id: b\n  action: sleep\n  with: {duration: 5s}\n", 2, 3, "a '-' is missing before 'id': each item of a list starts with '- '"),
    ("    with: {duration: 5s}\n  -id: b\n    action: sleep\n    with: {duration: 5s}\n", 2, 3, "a space is missing after '-'"),
    ("     with: {duration: 5s}\n", 1, 6, "'with' is indented by 5 spaces, but 'action' beside it by 4"),
    ("      with: {duration: 5s}\n", 1, 7, "'with' is indented under 'action', which has a value already"),
    ("   with: {duration: 5s}\n", 1, 4, "'with' is indented by 3 spaces, but 'action' beside it by 4"),
    ("  with: {duration: 5s}\n", 1, 3, "'with' is indented by 2 spaces, but 'action' beside it by 4"),
    ("    with:\n      duration: 5s\n       x: 1\n", 3, 8, "'x' is indented by 7 spaces, but 'duration' beside it by 6"),
    ("    with:\n       duration: 5s\n      x: 1\n", 2, 8, "'duration' is indented by 7 spaces, but 'x' beside it by 6"),
    ("    with: {duration: 5s}\n - id: b\n   action: sleep\n   with: {duration: 5s}\n", 2, 2, "'-' is indented by 1 space, but '-' beside it by 2"),
    ("    with: {duration: 5s}\n   - id: b\n     action: sleep\n     with: {duration: 5s}\n", 2, 4, "'-' is indented by 3 spaces, but '-' beside it by 2"),
    ("    timeout:5m\n    with: {duration: 5s}\n", 1, 5, "a space is missing after 'timeout:'"),
    ("    with: {duration: 5s}\n    timeout:5m\n", 2, 5, "a space is missing after 'timeout:'"),
    ("    with: {duration: 5s}\n    timeout:5m\n", 2, 5, "a space is missing after 'timeout:'"),
    ("    timeout 5m\n    with: {duration: 5s}\n", 1, 5, "a ':' is missing after 'timeout'"),
    ("    with\n      duration: 5s\n", 1, 5, "a ':' is missing after 'with'"),
    ("\t\twith: {duration: 5s}\n", 1, 1, "a tab in the indentation: YAML takes only spaces"),
    ("    with:\n\t  for: 5s\n", 2, 1, "a tab in the indentation: YAML takes only spaces"),
    ("<<<<<<< HEAD\n    with: {duration: 5s}\n=======\n    with: {duration: 6s}\n>>>>>>> other\n", 1, 1, "'<<<<<<<' marks a merge conflict of git that is not resolved"),
    ("    with: {duration: 5s}\n  \u{2013} id: b\n    action: sleep\n    with: {duration: 5s}\n", 2, 3, "this character is an en dash (U+2013), not '-'"),
    ("    timeout\u{ff1a} 5m\n    with: {duration: 5s}\n", 1, 12, "this character is a fullwidth colon (U+FF1A), not ':'"),
    ("    name: @bob\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '@'"),
    ("    name: `bob`\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '`'"),
    ("    name: %bob\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '%'"),
    ("    name: %(inputs.x)s\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '%'"),
    ("% hello\n    with: {duration: 5s}\n", 1, 1, "an unquoted value cannot start with '%'"),
    ("    name: *bold* x\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '*'"),
    ("    name: * * *\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '*'"),
    ("    name: & x\n    with: {duration: 5s}\n", 1, 11, "an unquoted value cannot start with '&'"),
    ("    log: note: hello\n    with: {duration: 5s}\n", 1, 10, "this text has a ':' in it, so YAML reads it as a key with a value"),
    ("    log: waits {{ a.b }}: done\n    with: {duration: 5s}\n", 1, 10, "this text has a ':' in it, so YAML reads it as a key with a value"),
    ("    with: {duration: 5s, x: a: b}\n", 1, 29, "this text has a ':' in it, so YAML reads it as a key with a value"),
    ("    log: hello:\n    with: {duration: 5s}\n", 1, 10, "this text has a ':' in it, so YAML reads it as a key with a value"),
    ("    with:\n      duration: {{ inputs.x }}s\n", 2, 17, "unquoted template: YAML reads '{' as the start of a mapping"),
    ("    when: {{ inputs.x }} and {{ inputs.y }}\n    with: {duration: 5s}\n", 1, 11, "unquoted template: YAML reads '{' as the start of a mapping"),
    ("    log: \"a\\d+\"\n    with: {duration: 5s}\n", 1, 12, "'\\d' has no meaning in a string in double quotes"),
    ("    log: \"C:\\users\"\n    with: {duration: 5s}\n", 1, 13, "'\\u' has no meaning in a string in double quotes"),
    ("    with: {duration: 5s x: 1}\n", 1, 25, "a ',' is missing before 'x'"),
    ("    with: {duration: \"5s\" x: 1}\n", 1, 27, "a ',' is missing before 'x'"),
    ("    with: {nodes: [\"a\" \"b\"]}\n", 1, 24, "a ',' is missing before '\"b\"'"),
    ("    with: {duration: 5s}}\n", 1, 25, "this '}' closes nothing: there is no open bracket for it"),
    ("    with: {duration: [5s]]}\n", 1, 26, "this ']' closes nothing: there is no open bracket for it"),
    ("    with: {duration: [5s)}\n", 1, 22, "this '[' is not closed: a ']' is missing"),
    ("    with: (for: 5s)\n", 1, 11, "this text has a ':' in it, so YAML reads it as a key with a value"),
    ("    log: |\n  hello\n    with: {duration: 5s}\n", 2, 3, "this line is indented less than the text after '|' or '>' needs"),
    ("    log: | hello\n    with: {duration: 5s}\n", 1, 12, "a text after '|' or '>' begins on the next line"),
    ("    log: |\n      hello\n     more\n    with: {duration: 5s}\n", 3, 6, "this line is indented less than the text after '|' or '>' needs"),
    ("    log: \"hello\" world\n    with: {duration: 5s}\n", 1, 18, "this text is outside of the quotes before it"),
    ("    log: 'hello' world\n    with: {duration: 5s}\n", 1, 18, "this text is outside of the quotes before it"),
    ("    timeout = 5m\n    with: {duration: 5s}\n", 1, 5, "a ':' is missing after 'timeout'"),
    ("    with: {duration: 5s; x: 1}\n", 1, 26, "a ',' is missing before 'x'"),
    ("    retry: 3\n      attempts: 3\n    with: {duration: 5s}\n", 2, 7, "'attempts' is indented under 'retry', which has a value already"),
    ("    log: a\u{0}b\n    with: {duration: 5s}\n", 1, 11, "the control character U+0000 is not allowed in the file"),
    ("    // note\n    with: {duration: 5s}\n", 1, 5, "'//' begins no comment in YAML: a comment begins with '#'"),
    ("    /* note */\n    with: {duration: 5s}\n", 1, 5, "'/*' begins no comment in YAML: a comment begins with '#'"),
    ("    with: {duration: 5s} // note\n", 1, 26, "'//' begins no comment in YAML: a comment begins with '#'"),
    ("    with: {duration: 5s} note\n", 1, 26, "this text is outside of the brackets before it"),
    ("    name: [1/2] wait\n    with: {duration: 5s}\n", 1, 11, "this text begins with '[', so YAML reads a list"),
    ("    with: {duration: 5s}\n  - - id: c\n    action: sleep\n    with: {duration: 5s}\n", 2, 5, "this second '-' begins a list within the list"),
    ("    with: {duration: 5s}\n  - id: c\naction: sleep\n    with: {duration: 5s}\n", 3, 1, "'action' is not indented, but 'with' beside it by 4 spaces"),
    ("    with:\n      nodes:\n      - a\n     - b\n", 4, 6, "'-' is indented by 5 spaces, but '-' beside it by 6"),
    ("    with: {duration: 5s}# note\n", 1, 25, "a space is missing before '#'"),
];

/// Whole texts.
#[rustfmt::skip]
const WHOLE: &[(&str, usize, usize, &str)] = &[
    ("name: x\nsteps:\n  - id: a\n    action: sleep\n\u{a0}\u{a0}\u{a0}\u{a0}with: {duration: 5s}\n  - id: b\n", 5, 1, "this character is a no-break space (U+00A0), not a space"),
    ("name: x\nsteps:\n  id: a\n  action: sleep\n  with: {duration: 5s}\n  - id: b\n", 3, 3, "a '-' is missing before 'id': each item of a list starts with '- '"),
    ("name: x\nsteps:\n    id: a\n    action: sleep\n    with: {duration: 5s}\n  - id: b\n", 3, 5, "a '-' is missing before 'id': each item of a list starts with '- '"),
    ("name: x\nsteps:\n  -id: a\n    action: sleep\n    with: {duration: 5s}\n", 3, 3, "a space is missing after '-'"),
    (" name: x\nsteps:\n  - id: a\n    action: sleep\n    with: {duration: 5s}\n", 1, 2, "'name' is indented by 1 space, but 'steps' beside it by 0"),
    ("name: x\n steps:\n  - id: a\n    action: sleep\n    with: {duration: 5s}\n", 2, 2, "'steps' is indented by 1 space, but 'name' beside it by 0"),
    ("name: x\ndescription: y\n inputs: {}\nsteps:\n  - id: a\n    action: sleep\n    with: {duration: 5s}\n", 3, 2, "'inputs' is indented by 1 space, but 'description' beside it by 0"),
    ("name: x\ninputs:\n  n: {type: string}\ndefaults:\n  timeout:15m\n  on_failure: stop\nsteps:\n", 5, 3, "a space is missing after 'timeout:'"),
    ("name:x\nsteps:\n", 1, 1, "a space is missing after 'name:'"),
    ("name: x\nsteps:\n  - id:a\n    action: sleep\n    with: {duration: 5s}\n", 3, 5, "a space is missing after 'id:'"),
    ("name: x\nsteps\n  - id: a\n    action: sleep\n    with: {duration: 5s}\n", 2, 1, "a ':' is missing after 'steps'"),
    ("name: x\nsteps:\n\t- id: a\n\t  action: sleep\n", 3, 1, "a tab in the indentation: YAML takes only spaces"),
    ("name: x\nsteps:\n<<<<<<< HEAD\n  - id: a\n=======\n  - id: b\n>>>>>>> other\n    action: sleep\n    with: {duration: 5s}\n", 3, 1, "'<<<<<<<' marks a merge conflict of git that is not resolved"),
    ("name: x\nsteps:\n\u{feff}  - id: a\n    action: sleep\n    with: {duration: 5s}\n", 3, 1, "this character is a byte order mark (U+FEFF), which is not visible"),
    ("name: x\nsteps:\n  - id: a\n    when: \u{201c}{{ 'a' == 'b': c }}\u{201d}\n    action: sleep\n    with: {duration: \u{2018}5s\u{2019}}\n", 4, 11, "this character is a typographic quote (U+201C), not '\"'"),
    ("name: x\nsteps:\n  \u{2013} id: a\n    action: sleep\n    with: {duration: 5s}\n", 3, 3, "this character is an en dash (U+2013), not '-'"),
    ("name: x\nsteps: - id: a\n    action: sleep\n    with: {duration: 5s}\n", 2, 8, "a list item cannot be on the line of its key"),
    ("name: x\nsteps:\n  - id: a\n    action: cordon\n    with:\n      nodes:\n        - a\n       - b\n", 8, 8, "'-' is indented by 7 spaces, but '-' beside it by 8"),
    ("name: x\nsteps:\n  - id: a\n    action: cordon\n    with:\n      nodes:\n        - a\n        b\n", 8, 9, "a '-' is missing before 'b': each item of a list starts with '- '"),
];

/// Expressions in the braces of a template.
const EXPRESSIONS: &[&str] = &[
    "group.desired +",
    "group.desired",
    "+ ",
    "group.desired > 2 && group.max > 2",
    "group.desired > 2 || group.max > 2",
    "(group.desired > 2",
    "group.desired > 2)",
    "group.name == 'a",
    "group.name == \"a",
    "group..name",
    "group.",
    "group.desired ! 2",
    "!group.ok",
    "group.desired === 2",
    "group.desired !== 2",
    "group.desired = 2",
    "group.desired <> 2",
    "group.desired => 2",
    "group.desired > 2 ? 'a' : 'b'",
    "group.name ?? 'x'",
    "group.name ?: 'x'",
    "group?.name",
    "group.name default('x')",
    "group.name | ",
    "group.name is",
    "group.name is not",
    "group.desired 2",
    "group.name 'a'",
    "group desired",
    "group.desired AND group.max",
    "group.desired eq 2",
    "group.name contains 'x'",
    "group.name matches 'x'",
    "$group.name",
    "$.group.name",
    ".Values.x",
    ".name",
    "group.nodes[0",
    "group.nodes[0)",
    "{'a': 1",
    "[1, 2",
    "group.name | default('a'",
    "@group",
    "group.name # note",
    "group.name; group.max",
    "group.desired ++ 1",
    "group.desired + + 1",
    "group.desired * * 2",
    "group.desired > ",
    "> 2",
    "group.name if",
    "if group.name",
    "group.name if true else",
    "not",
    "group.nodes[]",
    "group.nodes[0:]",
    "f'{group.name}'",
    "group.name == ‘a’",
    "group.desired – 1",
    "group.desired ≥ 1",
    "`a`",
    "a -> b",
    "lambda x: x",
    "[x for x in y]",
    "group.name |> upper",
    "group.name | upper()",
    "group.name | upper lower",
    "group.1",
    "group-name.x",
    "\"a\" \"b\"",
    "group.name == \\'a\\'",
    "{ group.name }",
    "group.desired ++",
    "1 2",
    "a,",
    "(a, b",
    "x = 1",
    "x := 1",
    "a b c",
    "%x",
    "a\\nb",
    "group.name.",
    "group[\"name]",
    "..",
    "()",
    "&group",
    "*group",
    "group->name",
    "group::name",
    "group:name",
    "\"a' ",
    "'it's'",
    "group.name == \"it's",
    "a and",
    "and a",
    "or",
    "a or or b",
    "a in",
    "in a",
    "a not b",
    "a is null",
];

/// Words of the parsers, which mean nothing to the author of a runbook.
const PARSER_WORDS: &[&str] = &[
    "simple key",
    "block mapping",
    "block sequence",
    "block collection",
    "flow mapping",
    "flow sequence",
    "token",
    "did not find",
    "unexpected",
    "eof",
    "mapping values",
    "while parsing",
    "while scanning",
    "scanner",
    "scalar",
    "directive",
    "indicator",
    "identifier",
    "expected",
    "variable block",
    "end of input",
    "template-data",
    "syntax",
    "illegal",
    "disallowed",
    "context",
];

fn errors(text: &str) -> Vec<(usize, usize, String)> {
    let source = Source::new("-", text);
    let diagnostics = check(&source, &ActionRegistry::default()).diagnostics;
    let of_syntax = diagnostics.iter().filter(|d| ["RB001", "RB005", "RB020"].contains(&d.code));
    let found = of_syntax.map(|diagnostic| {
        let at = source.position(diagnostic.span.start);
        let help = diagnostic.help.clone().unwrap_or_default();
        (at.line, at.column, format!("{}; {help}", diagnostic.message))
    });
    found.collect()
}

fn assert_plain(text: &str) {
    for (.., message) in errors(text) {
        let lower = message.to_lowercase();
        let word = PARSER_WORDS.iter().find(|word| lower.contains(*word));
        assert_eq!(word, None, "{message}\n{text}");
    }
}

/// Asserts that a text has one error of syntax, at this place and with this message.
fn assert_error(text: &str, line: usize, column: usize, message: &str) {
    let found = errors(text);
    let [(at_line, at_column, got)] = found.as_slice() else { panic!("{found:?}\n{text}") };
    assert_eq!((*at_line, *at_column), (line, column), "{got}\n{text}");
    let got = got.strip_prefix("invalid YAML: ").unwrap_or(got);
    assert!(got.starts_with(message), "{got}\n{text}");
    assert_plain(text);
}

#[test]
fn a_mistake_is_reported_once_where_it_is() {
    for (lines, line, column, message) in IN_A_STEP {
        for after in [AFTER, ""] {
            assert_error(&format!("{BEFORE}{lines}{after}"), line + 4, *column, message);
        }
    }
    for (text, line, column, message) in WHOLE {
        assert_error(text, *line, *column, message);
    }
}

#[test]
fn no_message_has_words_of_a_parser() {
    for expression in EXPRESSIONS {
        for template in [
            format!("{{{{ {expression} }}}}"),
            format!("a {{{{ {expression} }}}} b"),
            format!("{{{{ {expression}"),
        ] {
            assert_plain(&format!("{BEFORE}    when: |\n      {template}\n"));
        }
    }
    // Every text, cut off at every character, and with every character missing.
    let texts = IN_A_STEP.iter().map(|(lines, ..)| format!("{BEFORE}{lines}{AFTER}"));
    for text in texts.chain(WHOLE.iter().map(|(text, ..)| (*text).to_owned())) {
        for (at, character) in text.char_indices() {
            assert_plain(&text[..at]);
            assert_plain(&format!("{}{}", &text[..at], &text[at + character.len_utf8()..]));
        }
    }
}
