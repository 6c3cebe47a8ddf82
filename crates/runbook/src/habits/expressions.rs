//! Names, functions, filters and tests of other template languages.

use super::folded;

/// The form of a runbook for one of another language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) help: String,
    /// The text to replace the form with.
    pub(crate) replacement: Option<String>,
}

impl Rewrite {
    pub(crate) fn by(replacement: String) -> Self {
        let help = format!("write {replacement}");
        Self { help, replacement: Some(replacement) }
    }

    pub(crate) fn help_by(help: String) -> Self {
        Self { help, replacement: None }
    }

    pub(crate) fn help(help: &str) -> Self {
        Self { help: help.to_owned(), replacement: None }
    }
}

/// The longest call that is rewritten.
const MAX_LENGTH: usize = 200;

/// Functions and methods that are a filter without arguments.
const FILTERS: &[(&str, &[&str])] = &[
    ("length", &["len", "length", "size", "count", "strlen"]),
    ("upper", &["upper", "touppercase", "toupper", "upcase", "uppercase"]),
    ("lower", &["lower", "tolowercase", "tolower", "downcase", "lowercase"]),
    ("trim", &["trim", "strip", "trimspace"]),
    ("int", &["int", "integer", "toint", "parseint", "tonumber", "atoi"]),
    ("float", &["float", "tofloat", "parsefloat"]),
    ("string", &["str", "string", "tostring"]),
    ("bool", &["bool", "boolean", "tobool"]),
    ("list", &["list", "tolist", "keys", "toset", "array"]),
    ("first", &["first", "head"]),
    ("last", &["last"]),
    ("sum", &["sum"]),
    ("abs", &["abs"]),
    ("round", &["round"]),
    ("sort", &["sort", "sorted"]),
    ("reverse", &["reverse", "reversed"]),
    ("unique", &["unique", "distinct", "uniq"]),
    ("title", &["title", "titlecase"]),
    ("capitalize", &["capitalize", "ucfirst"]),
    ("min", &["min"]),
    ("max", &["max"]),
    ("lines", &["lines", "splitlines"]),
];

/// Returns what to write in place of a call.
pub(crate) fn call(text: &str) -> Option<Rewrite> {
    if text.len() > MAX_LENGTH || text.contains('\n') {
        return None;
    }
    let open = open_of_last_call(text)?;
    let (callee, arguments) = (text.get(..open)?.trim(), text.get(open + 1..text.len() - 1)?);
    let arguments = split(arguments);
    let (object, name) = match callee.rsplit_once('.') {
        Some((object, name)) => (Some(object.trim()), name.trim()),
        None => (None, callee),
    };
    let word = folded(name);
    // A method has its object as the first argument.
    let all: Vec<&str> = object.into_iter().chain(arguments.iter().copied()).collect();
    let whole = |text: &str| if is_simple(text) { text.to_owned() } else { format!("({text})") };
    let rewrite = match (word.as_str(), all.as_slice()) {
        ("now" | "today" | "utcnow" | "timestamp" | "time" | "date" | "random" | "uuid", _) => {
            Rewrite::help("a template has no clock and no chance: pass the value as an input")
        }
        ("success" | "failure" | "always" | "cancelled" | "failed" | "succeeded", []) => {
            Rewrite::help(
                "steps run while those before them succeed; 'on_failure' says what a failure does",
            )
        }
        (
            "env" | "getenv" | "lookup" | "query" | "file" | "read" | "secret" | "vault" | "ssm",
            _,
        ) => Rewrite::help("a template reads nothing: declare an input"),
        ("range", _) => Rewrite::help("there is no range: write the list, as in [1, 2, 3]"),
        ("format" | "printf" | "sprintf" | "concat" | "fmt", [first, rest @ ..])
            if word == "concat" && !rest.is_empty() =>
        {
            let parts = std::iter::once(first).chain(rest).map(|part| whole(part));
            Rewrite::by(parts.collect::<Vec<_>>().join(" ~ "))
        }
        ("format" | "printf" | "sprintf" | "fmt" | "concat", _) => Rewrite::help(
            "join texts with '~', as in 'a' ~ inputs.NAME, or write {{ … }} in the text",
        ),
        ("contains" | "includes" | "has" | "haskey" | "in", [list, item]) => {
            Rewrite::by(format!("{} in {}", whole(item), whole(list)))
        }
        ("startswith" | "hasprefix" | "startsWith", [text, start]) => {
            Rewrite::by(format!("{} is startingwith({start})", whole(text)))
        }
        ("endswith" | "hassuffix", [text, end]) => {
            Rewrite::by(format!("{} is endingwith({end})", whole(text)))
        }
        ("default" | "coalesce" | "get" | "ifempty" | "nvl" | "orelse", [value, other])
            if word != "get" =>
        {
            Rewrite::by(format!("{} | default({other})", whole(value)))
        }
        ("get", [map, key]) => Rewrite::by(format!("{}[{key}] | default('')", whole(map))),
        ("get", [map, key, other]) => {
            Rewrite::by(format!("{}[{key}] | default({other})", whole(map)))
        }
        ("isdefined" | "defined" | "exists" | "isset", [value]) => {
            Rewrite::by(format!("{} is defined", whole(value)))
        }
        ("empty" | "isempty", [value]) => Rewrite::by(format!("{} | length == 0", whole(value))),
        ("any" | "notempty", [value]) => Rewrite::by(format!("{} | length > 0", whole(value))),
        ("isnull" | "isnone", [value]) => Rewrite::by(format!("{} is none", whole(value))),
        ("not", [value]) => Rewrite::by(format!("not {}", whole(value))),
        ("eq", [a, b]) => Rewrite::by(format!("{} == {}", whole(a), whole(b))),
        ("ne", [a, b]) => Rewrite::by(format!("{} != {}", whole(a), whole(b))),
        ("gt", [a, b]) => Rewrite::by(format!("{} > {}", whole(a), whole(b))),
        ("ge", [a, b]) => Rewrite::by(format!("{} >= {}", whole(a), whole(b))),
        ("lt", [a, b]) => Rewrite::by(format!("{} < {}", whole(a), whole(b))),
        ("le", [a, b]) => Rewrite::by(format!("{} <= {}", whole(a), whole(b))),
        ("and", [a, b]) => Rewrite::by(format!("{} and {}", whole(a), whole(b))),
        ("or", [a, b]) => Rewrite::by(format!("{} or {}", whole(a), whole(b))),
        ("add", [a, b]) => Rewrite::by(format!("{} + {}", whole(a), whole(b))),
        ("ternary" | "iif" | "if", [condition, yes, no]) => {
            Rewrite::by(format!("{yes} if {} else {no}", whole(condition)))
        }
        // `', '.join(list)` and `list.join(', ')`.
        ("join", [separator, list]) if separator.starts_with(['\'', '"']) => {
            Rewrite::by(format!("{} | join({separator})", whole(list)))
        }
        ("join" | "split", [value, separator]) => {
            Rewrite::by(format!("{} | {word}({separator})", whole(value)))
        }
        ("replace", [value, from, to]) => {
            Rewrite::by(format!("{} | replace({from}, {to})", whole(value)))
        }
        ("round", [value, digits]) => Rewrite::by(format!("{} | round({digits})", whole(value))),
        ("min" | "max" | "sum", [_, _, ..]) if object.is_none() => {
            Rewrite::by(format!("[{}] | {word}", arguments.join(", ")))
        }
        ("removeprefix" | "removesuffix" | "trimprefix" | "trimsuffix", [value, part]) => {
            Rewrite::by(format!("{} | replace({part}, '')", whole(value)))
        }
        ("strip" | "lstrip" | "rstrip" | "trim", [value, signs]) => {
            Rewrite::by(format!("{} | trim({signs})", whole(value)))
        }
        ("lstrip" | "rstrip" | "trimleft" | "trimright", [value]) => {
            Rewrite::by(format!("{} | trim", whole(value)))
        }
        ("append" | "push" | "extend" | "union", [list, item]) if object.is_some() => {
            let is_list = word == "extend" || word == "union" || item.starts_with('[');
            let item = if is_list { whole(item) } else { format!("[{item}]") };
            Rewrite::by(format!("{} + {item}", whole(list)))
        }
        ("map", [list, function]) if object.is_some() && function.contains("=>") => {
            Rewrite::help("write list | map(attribute='FIELD') | list")
        }
        ("filter", [_, _]) if object.is_some() => {
            Rewrite::help("write list | selectattr('FIELD', 'eq', value) | list")
        }
        ("slice" | "substring" | "substr", [value, from, to]) => {
            Rewrite::by(format!("{}[{from}:{to}]", whole(value)))
        }
        ("items" | "entries" | "iteritems" | "values" | "zip" | "enumerate", _) => Rewrite::help(
            "a template has no loops: 'for_each' over a map has each.key and each.value",
        ),
        ("isdigit" | "isnumeric" | "isalpha" | "isalnum" | "isdecimal", _) => Rewrite::help(
            "there is no such test: declare an input of the type integer, or with a 'syntax'",
        ),
        ("index" | "indexof" | "find" | "search" | "findall", [value, part])
            if object.is_some() =>
        {
            Rewrite::help_by(format!("there are no positions; write {part} in {}", whole(value)))
        }
        ("match" | "matches" | "test" | "fullmatch", [value, _]) if object.is_some() => {
            Rewrite::help_by(format!(
                "there are no regular expressions; write {} is startingwith('…')",
                whole(value)
            ))
        }
        ("encode" | "decode" | "hexdigest" | "b64encode" | "b64decode", _) => {
            Rewrite::help("there is no encoding: a value is passed on as it is")
        }
        ("strftime" | "isoformat" | "totalseconds", _) => {
            Rewrite::help("a template has no clock: pass the value as an input")
        }
        ("zfill" | "ljust" | "rjust" | "center" | "padstart" | "padend", _) => {
            Rewrite::help("there is no such filter; join texts with '~'")
        }
        (_, [value]) => {
            let (filter, _) = FILTERS.iter().find(|(_, words)| words.contains(&word.as_str()))?;
            Rewrite::by(format!("{} | {filter}", whole(value)))
        }
        _ => return None,
    };
    Some(rewrite)
}

/// Returns the position of the bracket whose closing bracket ends a text.
fn open_of_last_call(text: &str) -> Option<usize> {
    if !text.ends_with(')') {
        return None;
    }
    let mut open = Vec::new();
    let mut quote = None;
    let mut last = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(closing), _) if character == closing => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(') => open.push(at),
            (None, ')') => last = open.pop(),
            (None, _) => {}
        }
    }
    last.filter(|_| open.is_empty())
}

/// Splits arguments at their commas.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quote) = (0, 0_usize, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(closing), _) if character == closing => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether a text is one value, which needs no brackets beside an operator.
fn is_simple(text: &str) -> bool {
    let is_part = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '\'' | '"' | '-' | '/')
    };
    let is_string = text.starts_with(['\'', '"'])
        && text.len() > 1
        && text[1..].find(&text[..1]).is_some_and(|end| end + 2 == text.len());
    is_string || text.chars().all(is_part)
}

/// Returns what to write for a filter that does not exist: its name, or the help.
pub(crate) fn filter(name: &str) -> Option<Rewrite> {
    let word = folded(name);
    let help = match word.as_str() {
        "ternary" => "write a if condition else b",
        "tojson" | "json" | "toyaml" | "fromjson" | "fromyaml" | "tonicejson" | "toniceyaml"
        | "jsonquery" | "jsonpath" | "jmespath" => {
            "there is no JSON in a template: pass the value itself, or one of its fields"
        }
        "where" | "filter" | "find" | "grep" => "write selectattr('field', 'eq', value) | list",
        "contains" | "includes" | "inlist" => "write item in list",
        "startswith" | "hasprefix" => "write text is startingwith(start)",
        "endswith" | "hassuffix" => "write text is endingwith(end)",
        "regexreplace" | "regexsearch" | "regexfindall" | "match" | "search" | "sub" | "gsub" => {
            "there are no regular expressions: use replace(a, b), split(a), or a test"
        }
        "b64encode" | "b64decode" | "base64" | "hash" | "md5" | "sha256" | "quote"
        | "urlencode" | "indent" | "escape" | "e" | "safe" | "nindent" | "squote" => {
            "remove it: a value is passed on as it is"
        }
        "pluck" | "get" | "dig" => "write map(attribute='field') | list",
        "sortby" | "groupby" | "dictsort" => "write sort(attribute='field')",
        "flatten" | "zip" | "combine" | "union" | "intersect" | "difference" | "batch"
        | "slice" | "items" => "there is no such filter; lists are joined with '+'",
        "strftime" | "todatetime" | "date" | "humanize" | "filesizeformat" | "format" => {
            "there is no such filter; join texts with '~'"
        }
        "required" | "mandatory" => "remove it: an input without 'default' is required",
        _ => "",
    };
    if !help.is_empty() {
        return Some(Rewrite::help(help));
    }
    let row = FILTERS.iter().find(|(ours, words)| words.contains(&word.as_str()) && *ours != name);
    let ours = match (row, word.as_str()) {
        (Some((ours, _)), _) => ours,
        (None, "coalesce" | "ifempty" | "orelse" | "defaultvalue") => "default",
        (None, "concat" | "implode") => "join",
        (None, "explode") => "split",
        (None, "nth") => "first",
        (None, "average" | "mean") => {
            return Some(Rewrite::help("write (list | sum) / (list | length)"));
        }
        _ => return None,
    };
    Some(Rewrite { help: format!("did you mean '{ours}'?"), replacement: Some(ours.to_owned()) })
}

/// Returns the name of the test that an operator, or the name of a test of another language, is.
pub(crate) fn test_name(written: &str) -> Option<&'static str> {
    Some(match written.trim() {
        "==" | "=" | "===" => "eq",
        "!=" | "<>" | "!==" => "ne",
        ">" => "gt",
        ">=" => "ge",
        "<" => "lt",
        "<=" => "le",
        written => match folded(written).as_str() {
            "null" | "nil" | "undef" | "nothing" | "isnone" | "isnull" => "none",
            "set" | "exists" | "notnull" | "notnone" | "available" | "isdefined" => "defined",
            "missing" | "absent" | "unset" | "isundefined" => "undefined",
            "equalto" | "equals" | "equal" | "sameas" => "eq",
            "notequal" | "notequals" | "notequalto" => "ne",
            "greaterthan" => "gt",
            "lessthan" => "lt",
            "list" | "array" => "sequence",
            "dict" | "map" | "object" => "mapping",
            "str" | "text" => "string",
            "int" => "integer",
            "bool" => "boolean",
            "startswith" | "prefix" => "startingwith",
            "endswith" | "suffix" => "endingwith",
            _ => return None,
        },
    })
}

/// Returns what to write for a test that does not exist.
pub(crate) fn test(name: &str) -> Option<Rewrite> {
    if let Some(ours) = test_name(name) {
        let help = format!("did you mean '{ours}'?");
        return Some(Rewrite { help, replacement: Some(ours.to_owned()) });
    }
    Some(Rewrite::help(match folded(name).as_str() {
        "empty" | "blank" => "write x | length == 0, or x == '' for a text",
        "notempty" | "present" => "write x | length > 0, or x != '' for a text",
        "contains" | "containing" => "write item in list",
        "match" | "search" | "regex" | "matching" => {
            "there are no regular expressions: use startingwith, endingwith or in"
        }
        "success" | "succeeded" | "failed" | "skipped" | "changed" | "failure" => {
            "write 'defined': the output of a step that was skipped or has failed is absent"
        }
        _ => return None,
    }))
}

/// Returns what to write for a name that is neither `inputs` nor a step, given the path after it and what is known.
pub(crate) fn name(
    name: &str,
    path: &str,
    is_step: &dyn Fn(&str) -> bool,
    is_input: &dyn Fn(&str) -> bool,
    has_each: bool,
) -> Option<Rewrite> {
    let first =
        path.strip_prefix('.').and_then(|path| path.split(['.', '[']).next()).unwrap_or_default();
    let rest = path.get(1 + first.len()..).unwrap_or_default();
    let word = folded(name);
    Some(match word.as_str() {
        "steps" | "tasks" | "needs" | "jobs" | "outputs" | "results" | "step" | "nodes"
        | "task" | "stages" => {
            if !is_step(first) {
                return Some(Rewrite::help("write the id of the step and its field: STEP.FIELD"))
                    .filter(|_| word != "nodes");
            }
            let field = [
                "outputs",
                "output",
                "result",
                "results",
                "stdout",
                "outputs.parameters",
                "json",
                "value",
            ]
            .iter()
            .find_map(|word| rest.strip_prefix('.')?.strip_prefix(*word)?.strip_prefix('.'));
            let field = match field {
                Some(field) => format!(".{field}"),
                None => rest.to_owned(),
            };
            Rewrite::by(format!("{first}{field}"))
        }
        "item" | "loop" | "it" | "element" | "value" | "row" | "entry" => {
            if has_each {
                Rewrite::by(format!("each{}", if word == "loop" { "" } else { path }))
            } else {
                Rewrite::help(
                    "the item of a 'for_each' is 'each': write 'for_each' in the step, and 'each' here",
                )
            }
        }
        "null" | "nil" | "undefined" | "nan" | "nothing" => {
            Rewrite::help("write x is none, or x is not none")
        }
        "yes" | "on" => Rewrite::by("true".to_owned()),
        "no" | "off" => Rewrite::by("false".to_owned()),
        "env" | "environ" | "process" | "os" | "environment" => {
            Rewrite::help("a template has no environment: declare an input, and write inputs.NAME")
        }
        "github" | "runner" | "secrets" | "vault" | "matrix" | "hostvars" | "groups"
        | "ansiblefacts" | "context" | "ctx" | "execution" | "self" | "this" | "chart"
        | "release" | "capabilities" | "terraform" | "module" | "path" | "data" | "pipeline"
        | "build" | "workspace" | "global" => {
            if is_input(first) {
                Rewrite::by(format!("inputs{path}"))
            } else {
                Rewrite::help(
                    "a template has the inputs of the run and the outputs of earlier steps: inputs.NAME, STEP.FIELD",
                )
            }
        }
        "input" | "var" | "vars" | "variables" | "variable" | "local" | "locals" | "params"
        | "parameters" | "param" | "parameter" | "args" | "arguments" | "values" | "config"
        | "workflow" | "options" | "settings" | "inventory" | "default" | "defaults" => {
            // `workflow.parameters.x` and `inputs.parameters.x` of Argo Workflows.
            let inner =
                path.strip_prefix(".parameters").or(path.strip_prefix(".inputs")).unwrap_or(path);
            let first = inner
                .strip_prefix('.')
                .and_then(|path| path.split(['.', '[']).next())
                .unwrap_or_default();
            if !is_input(first) {
                return Some(Rewrite::help(
                    "write inputs.NAME, and declare the input under 'inputs'",
                ));
            }
            Rewrite::by(format!("inputs{inner}"))
        }
        "now" | "today" | "timestamp" | "date" | "time" => {
            Rewrite::help("a template has no clock: pass the value as an input")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_other_languages_are_rewritten() {
        for (written, ours) in [
            ("len(group.nodes)", "group.nodes | length"),
            ("group.nodes.length()", "group.nodes | length"),
            ("group.name.upper()", "group.name | upper"),
            ("contains(inputs.zones, 'a')", "'a' in inputs.zones"),
            ("inputs.zones.includes('a')", "'a' in inputs.zones"),
            ("group.name.startswith('a')", "group.name is startingwith('a')"),
            ("', '.join(inputs.zones)", "inputs.zones | join(', ')"),
            ("inputs.zones.join(', ')", "inputs.zones | join(', ')"),
            ("max(a.b, 2)", "[a.b, 2] | max"),
            ("int(a.b + 1)", "(a.b + 1) | int"),
            ("coalesce(a.b, 'x')", "a.b | default('x')"),
            ("a.b.get('k', 'v')", "a.b['k'] | default('v')"),
            ("concat('a', b.c)", "'a' ~ b.c"),
            ("empty(a.b)", "a.b | length == 0"),
        ] {
            let rewrite = call(written).and_then(|rewrite| rewrite.replacement);
            assert_eq!(rewrite.as_deref(), Some(ours), "{written}");
        }
        for written in ["", "x", ")", "(", "f()", "now()", "f(a, b, c, d)", "a)(", "é('"] {
            assert!(call(written).is_none_or(|rewrite| rewrite.replacement.is_none()), "{written}");
        }
    }
}
