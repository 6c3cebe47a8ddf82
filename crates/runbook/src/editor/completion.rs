//! What can be written at the cursor.

use std::ops::Range;

use super::super::document::MappingKind;
use super::super::library::{Library, MissingRunbook};
use super::super::registry::ActionRegistry;
use super::super::source::Source;
use super::super::template::filters::{self, predicates};
use super::super::types::{Field, RecordType, Type};
use super::super::yaml::{self, Node};
use super::cursor::{Cursor, Role};
use super::expression::{self, Expected};
use super::level::{self, Known, Level};
use super::scope::{Asked, Scope};
use super::{documentation, recover, words};

/// Something that can be written at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The name that is shown.
    pub label: String,
    /// The kind of thing.
    pub kind: CompletionKind,
    /// The text after the name: a type, or a summary.
    pub detail: Option<String>,
    /// A text about it, in Markdown.
    pub documentation: Option<String>,
    /// The text to write.
    pub insert: String,
    /// The byte range that the text replaces.
    pub replace: Range<usize>,
}

/// The kind of thing that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionKind {
    /// A key of a mapping.
    Key,
    /// An action.
    Action,
    /// A runbook.
    Runbook,
    /// A value of a fixed set.
    Value,
    /// A template whose value is of the type that is wanted.
    Template,
    /// A name in a template: `inputs`, a step, `each`.
    Name,
    /// A field of a record.
    Field,
    /// A filter or a test.
    Filter,
    /// An operator.
    Operator,
}

/// The words after an operand.
const OPERATORS: &[&str] = &["and", "else", "if", "in", "is", "not in", "or"];

/// Returns what can be written at an offset, the most likely first.
pub fn complete(
    source: &Source,
    offset: usize,
    registry: &ActionRegistry,
    library: &dyn Library,
) -> Vec<Completion> {
    let known = Known { registry, library };
    let Asked { offset, cursor, template, .. } = Asked::at(source, offset);
    if let Some(template) = template {
        return in_template(source, &cursor, &template, offset, known);
    }
    let request = Request { source, cursor: &cursor, offset, known };
    match cursor.role {
        Role::Key => request.keys(),
        Role::Value => request.values(&level::at(&cursor, &cursor.path, known)),
        Role::Text => Vec::new(),
    }
}

/// A question outside of templates.
struct Request<'r> {
    source: &'r Source,
    cursor: &'r Cursor<'r>,
    offset: usize,
    known: Known<'r>,
}

impl Request<'_> {
    /// Returns the keys that the mapping at the cursor does not have yet; in a list, its items.
    fn keys(&self) -> Vec<Completion> {
        let parent = self.cursor.path.last().copied();
        let level = level::at(self.cursor, &self.cursor.path, self.known);
        match &level {
            Level::Mapping(mapping) => {
                let has = |key: &str| self.has(parent, key);
                let is_open = |key: &&&str| !has(key) && !is_other_of_two(*mapping, key, &has);
                let keys = mapping.keys().iter().filter(is_open);
                keys.map(|key| {
                    let documentation = documentation::of_key(*mapping, key).map(str::to_owned);
                    self.key(key, None, documentation, is_mapping(key))
                })
                .collect()
            }
            Level::Steps => {
                let mut step = self.key("- id", None, None, false);
                step.documentation = Some("A step.".to_owned());
                vec![step]
            }
            Level::Value(ty) => match ty.non_null() {
                Type::Record(record) => self.fields(parent, record),
                // The keys of a map are the author's. An item of a list is a value.
                _ if self.is_in_list(parent) => self.values(&level),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Returns the fields that are not given, and that the given ones do not exclude.
    fn fields(&self, parent: Option<usize>, record: &RecordType) -> Vec<Completion> {
        let is_excluded = |field: &Field| {
            let groups = record.exactly_one_of.iter().filter(|group| group.contains(&field.name));
            groups.flatten().any(|other| self.has(parent, other))
        };
        let open = record.fields.iter();
        let open = open.filter(|field| !self.has(parent, &field.name) && !is_excluded(field));
        let mut open: Vec<&Field> = open.collect();
        open.sort_by_key(|field| !field.required);
        open.iter()
            .map(|field| {
                let documentation = Some(field.description.clone()).filter(|text| !text.is_empty());
                let detail = Some(documentation::detail(field));
                let is_mapping = matches!(field.ty.non_null(), Type::Map(..) | Type::Record(_));
                self.key(&field.name, detail, documentation, is_mapping)
            })
            .collect()
    }

    fn is_in_list(&self, parent: Option<usize>) -> bool {
        parent.and_then(|parent| self.cursor.entry(parent)).is_some_and(|entry| entry.key.is_none())
    }

    /// Whether a mapping has a key, other than the one at the cursor.
    fn has(&self, parent: Option<usize>, key: &str) -> bool {
        let mut children = self.cursor.children(parent);
        children.any(|entry| entry.key == Some(key) && entry.span != self.cursor.word)
    }

    fn key(
        &self,
        key: &str,
        detail: Option<String>,
        documentation: Option<String>,
        is_mapping: bool,
    ) -> Completion {
        let after = self.source.text().get(self.cursor.word.end..).unwrap_or_default();
        let end = match (after.starts_with(':'), is_mapping) {
            (true, _) => "",
            // The mapping may begin on the next line.
            (false, true) => ":",
            (false, false) => ": ",
        };
        Completion {
            label: key.to_owned(),
            kind: CompletionKind::Key,
            detail,
            documentation,
            insert: format!("{key}{end}"),
            replace: self.cursor.word.clone(),
        }
    }

    /// Returns the values of a key.
    fn values(&self, level: &Level) -> Vec<Completion> {
        match level {
            Level::Action => self.actions(),
            Level::Call => self.runbooks(),
            Level::TypeName => {
                let more = ["list of string", "map of string", "optional string"];
                self.words(Type::NAMES.into_iter().chain(more))
            }
            Level::Words(words) => self.words(words.iter().copied()),
            Level::Value(ty) => {
                let mut values = match ty.non_null() {
                    Type::Boolean => self.words(["true", "false"]),
                    Type::Enum(words) => self.words(words.iter().map(String::as_str)),
                    _ => Vec::new(),
                };
                values.extend(self.templates(ty));
                values
            }
            _ => Vec::new(),
        }
    }

    fn actions(&self) -> Vec<Completion> {
        let each = |action: &super::super::ActionSignature| Completion {
            detail: Some(action.summary.clone()),
            documentation: Some(documentation::of_action(action)),
            ..self.value(&action.name, CompletionKind::Action)
        };
        self.known.registry.iter().map(each).collect()
    }

    fn runbooks(&self) -> Vec<Completion> {
        // No runbook has this name, and the answer is the names that there are.
        let Err(MissingRunbook::Unknown(names)) = self.known.library.find("") else {
            return Vec::new();
        };
        let others = names.iter().filter(|name| self.source.stem() != Some(name));
        others
            .map(|name| Completion {
                detail: self.known.library.find(name).ok().and_then(|source| summary(&source)),
                ..self.value(name, CompletionKind::Runbook)
            })
            .collect()
    }

    fn words<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Vec<Completion> {
        words.into_iter().map(|word| self.value(word, CompletionKind::Value)).collect()
    }

    fn value(&self, value: &str, kind: CompletionKind) -> Completion {
        let before = self.source.text().get(..self.cursor.word.start).unwrap_or_default();
        let space = if before.ends_with(':') { " " } else { "" };
        Completion {
            label: value.to_owned(),
            kind,
            detail: None,
            documentation: None,
            insert: format!("{space}{value}"),
            replace: self.cursor.word.clone(),
        }
    }

    /// Returns the outputs and inputs that are of a type, as templates.
    fn templates(&self, wanted: &Type) -> Vec<Completion> {
        const MAX_TEMPLATES: usize = 40;
        let before = self.source.text().get(..self.cursor.word.start).unwrap_or_default();
        if !self.cursor.word.is_empty() || before.ends_with(['"', '\'']) {
            return Vec::new();
        }
        let fitting = recover::analyze(self.source, self.offset, self.known, |analysis| {
            let Some(scope) = Scope::at(analysis, self.cursor, self.offset) else {
                return Vec::new();
            };
            // The nearest step first.
            let ids = scope.steps().collect::<Vec<_>>().into_iter().rev();
            let ids = ids.map(|step| analysis.id(step)).filter(|id| !id.is_empty());
            let mut found = Vec::new();
            for root in scope.each().map(|_| "each").into_iter().chain(ids).chain(["inputs"]) {
                let ty = scope.type_of(root);
                if fits(&ty, wanted) {
                    found.push((root.to_owned(), ty.clone()));
                }
                if let Type::Record(record) = &ty {
                    let fields = record.fields.iter().filter(|field| fits(&field.ty, wanted));
                    found.extend(
                        fields.map(|field| (format!("{root}.{}", field.name), field.ty.clone())),
                    );
                }
            }
            found.truncate(MAX_TEMPLATES);
            found
        });
        let template = |(path, ty): (String, Type)| Completion {
            detail: Some(documentation::described(&ty)),
            ..self.value(&format!("\"{{{{ {path} }}}}\""), CompletionKind::Template)
        };
        fitting.unwrap_or_default().into_iter().map(template).collect()
    }
}

/// Whether a value of a type is what an author may want for another type.
fn fits(found: &Type, wanted: &Type) -> bool {
    match (found, wanted.non_null()) {
        (Type::Any | Type::Null, _) | (_, Type::Any) => false,
        // Every number can be a string, and hardly ever is meant.
        (found, wanted) if wanted.is_text() && !found.is_text() => false,
        (found, wanted) => wanted.check_assignable(found).is_ok(),
    }
}

/// Whether the other of `action` and `call` is given.
fn is_other_of_two(mapping: MappingKind, key: &str, has: &impl Fn(&str) -> bool) -> bool {
    mapping == MappingKind::Step
        && matches!(key, "action" | "call")
        && (has("action") || has("call"))
}

fn is_mapping(key: &str) -> bool {
    matches!(key, "inputs" | "defaults" | "limits" | "steps" | "outputs" | "with" | "retry")
}

fn summary(source: &Source) -> Option<String> {
    let (tree, _) = yaml::load(source.text());
    let tree = tree?;
    let description = tree.member("description").and_then(Node::text)?;
    description.lines().next().map(str::to_owned)
}

/// Returns what can be written in a template.
fn in_template(
    source: &Source,
    cursor: &Cursor<'_>,
    template: &Range<usize>,
    offset: usize,
    known: Known<'_>,
) -> Vec<Completion> {
    let at = expression::at(source.text(), template, offset);
    let item = |label: &str, kind, detail: Option<String>, documentation: &str| Completion {
        label: label.to_owned(),
        kind,
        detail,
        documentation: Some(documentation.to_owned()).filter(|text| !text.is_empty()),
        insert: label.to_owned(),
        replace: at.name.clone(),
    };
    let word = |label: &str, sentence: Option<&str>| {
        item(label, CompletionKind::Filter, None, sentence.unwrap_or_default())
    };
    match &at.expected {
        Expected::Filter => {
            filters::names().map(|name| word(name, words::of_filter(name))).collect()
        }
        Expected::Test => {
            predicates::NAMES.iter().map(|name| word(name, words::of_test(name))).collect()
        }
        Expected::Operator => {
            let operator = |word: &&str| item(word, CompletionKind::Operator, None, "");
            OPERATORS.iter().map(operator).collect()
        }
        Expected::Text => Vec::new(),
        Expected::Field(base) | Expected::ItemField(base) => {
            let ty = recover::analyze(source, offset, known, |analysis| {
                Scope::at(analysis, cursor, offset).map(|scope| scope.type_of(base))
            });
            let ty = ty.flatten().unwrap_or(Type::Any);
            let is_item = matches!(at.expected, Expected::ItemField(_));
            let of = match (ty.non_null(), is_item) {
                (Type::List(of, _), true) => of.non_null(),
                (ty, _) => ty,
            };
            let Type::Record(record) = of else { return Vec::new() };
            let field = |field: &Field| {
                let detail = Some(documentation::described(&field.ty));
                item(&field.name, CompletionKind::Field, detail, &field.description)
            };
            record.fields.iter().map(field).collect()
        }
        Expected::Name => {
            let names = recover::analyze(source, offset, known, |analysis| {
                Scope::at(analysis, cursor, offset).map(|scope| names(&scope))
            });
            let names = names.flatten().unwrap_or_default().into_iter();
            let name = |(name, detail): (String, String)| {
                item(&name, CompletionKind::Name, Some(detail), "")
            };
            names.map(name).collect()
        }
    }
}

/// Returns the names that a template can begin with, the nearest step first.
fn names(scope: &Scope<'_, '_>) -> Vec<(String, String)> {
    let each = scope.each().map(|each| ("each".to_owned(), documentation::described(each)));
    let inputs = ("inputs".to_owned(), "the inputs of the run".to_owned());
    let steps = scope.steps().collect::<Vec<_>>().into_iter().rev();
    let step = |step: usize| {
        let id = scope.analysis.id(step).to_owned();
        let raw = scope.analysis.document.steps.get(step)?;
        let of = raw.call.or(raw.action).and_then(Node::text).unwrap_or_default();
        (!id.is_empty()).then(|| (id, format!("output of {of}")))
    };
    each.into_iter().chain([inputs]).chain(steps.filter_map(step)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::editor_tests::{library, marked, registry};
    use super::*;

    /// Returns the labels that are offered at the cursor `‸`.
    fn offered(text: &str) -> Vec<String> {
        let (source, offset) = marked(text);
        complete(&source, offset, &registry(), &library())
            .into_iter()
            .map(|one| one.label)
            .collect()
    }

    /// Returns the text with what is offered under a label.
    fn completed(text: &str, label: &str) -> String {
        let (source, offset) = marked(text);
        let offered = complete(&source, offset, &registry(), &library());
        let one = offered.iter().find(|one| one.label == label).unwrap();
        let mut text = source.text().to_owned();
        text.replace_range(one.replace.clone(), &one.insert);
        text
    }

    const STEPS: &str = "\
name: book
inputs:
  count: {type: integer, default: 2}
  zone: {type: string}
steps:
  - id: group
    action: find_group
    with: {region: us-west-2}
  - id: up
    action: scale
    with: {group: \"{{ group }}\", desired: 4}
";

    #[test]
    fn the_keys_that_are_not_given_are_offered() {
        assert_eq!(
            offered("name: x\n‸"),
            ["description", "inputs", "defaults", "limits", "steps", "outputs"]
        );
        let step = offered(&format!("{STEPS}    ‸"));
        assert_eq!(step[..2], ["name", "description"]);
        assert!(!step.iter().any(|key| matches!(key.as_str(), "id" | "action" | "call" | "with")));
        assert_eq!(
            offered("steps:\n  - id: a\n    retry: {attempts: 2, ‸}"),
            ["backoff", "max_backoff"]
        );
        assert_eq!(offered("defaults:\n  ‸"), ["timeout", "retry", "on_failure"]);
        assert_eq!(offered("inputs:\n  a: {type: string, de‸")[0], "default");
        assert_eq!(offered("limits:\n  ‸"), ["nodes_at_most", "cordon_at_most", "keep_ready"]);
        assert_eq!(
            offered("limits:\n  keep_ready:\n    - {namespace: a, deployment: b, ‸}"),
            ["at_least"]
        );
        assert_eq!(offered("steps:\n  ‸"), ["- id"]);
    }

    #[test]
    fn the_parameters_that_are_not_given_are_offered_the_required_ones_first() {
        let text = "steps:\n  - id: a\n    with:\n      mode: fast\n      ‸\n    action: scale\n";
        assert_eq!(offered(text), ["group", "desired", "modes", "labels", "raise"]);
        assert_eq!(
            offered("steps:\n  - {id: a, action: scale, with: {group: {‸}}}"),
            ["region", "name", "size", "nodes"]
        );
        assert_eq!(offered("steps:\n  - id: a\n    call: drain\n    with:\n      ‸"), ["node"]);
        assert_eq!(
            completed("steps:\n- action: scale\n  with: {des‸}", "desired"),
            "steps:\n- action: scale\n  with: {desired: }"
        );
        assert_eq!(
            completed("steps:\n- action: scale\n  with: {des‸: 3}", "desired"),
            "steps:\n- action: scale\n  with: {desired: 3}"
        );
    }

    #[test]
    fn the_values_of_a_key_are_offered() {
        assert_eq!(offered("steps:\n  - action: ‸"), ["find_group", "scale"]);
        assert_eq!(offered("steps:\n  - action: sc‸"), ["find_group", "scale"]);
        assert_eq!(completed("steps:\n  - action:‸", "scale"), "steps:\n  - action: scale");
        assert_eq!(offered("steps:\n  - {call: ‸}"), ["drain"]);
        assert_eq!(
            offered("steps:\n  - id: a\n    on_failure: ‸"),
            ["rollback", "stop", "continue"]
        );
        assert_eq!(offered("steps:\n  - restore: ‸"), ["at_end"]);
        assert_eq!(offered("inputs:\n  a: {type: ‸}")[..2], ["string", "integer"]);
        assert_eq!(
            offered("steps:\n  - action: scale\n    with: {mode: ‸}")[..2],
            ["fast", "slow"]
        );
        assert_eq!(
            offered("steps:\n  - action: scale\n    with:\n      raise: ‸")[..2],
            ["true", "false"]
        );
        assert_eq!(offered("steps:\n  - action: scale # ‸"), [""; 0]);
        assert_eq!(offered("steps:\n  - action: scale\n    with: {labels: {‸}}"), [""; 0]);
        assert_eq!(
            offered("steps:\n  - action: scale\n    with: {modes: [fast, ‸]}"),
            ["fast", "slow"]
        );
    }

    #[test]
    fn what_earlier_steps_yield_is_offered_where_it_is_of_the_type() {
        let text = format!("{STEPS}  - id: more\n    action: scale\n    with:\n      group: ‸");
        assert_eq!(offered(&text), ["\"{{ group }}\""]);
        let text = format!("{STEPS}  - id: more\n    action: scale\n    with:\n      desired: ‸\n");
        let wanted = ["\"{{ up.before }}\"", "\"{{ group.size }}\"", "\"{{ inputs.count }}\""];
        assert_eq!(offered(&text), wanted);
    }

    #[test]
    fn names_and_fields_are_offered_in_templates() {
        let with = |value: &str| {
            format!("{STEPS}  - id: more\n    action: scale\n    with:\n      desired: {value}\n")
        };
        assert_eq!(offered(&with("\"{{ ‸ }}\"")), ["inputs", "up", "group"]);
        assert_eq!(offered(&with("\"{{ inputs.‸ }}\"")), ["count", "zone"]);
        assert_eq!(offered(&with("\"{{ group.si‸ }}\"")), ["region", "name", "size", "nodes"]);
        assert_eq!(offered(&with("\"{{ group.nodes[0].‸ }}\"")), ["name", "labels"]);
        assert_eq!(offered(&with("\"{{ (group.nodes | first).‸ }}\"")), ["name", "labels"]);
        assert_eq!(
            offered(&with("\"{{ group.nodes | map(attribute='‸') }}\"")),
            ["name", "labels"]
        );
        assert!(offered(&with("\"{{ group.nodes | ‸ }}\"")).contains(&"join".to_owned()));
        assert!(offered(&with("\"{{ group is de‸ }}\"")).contains(&"defined".to_owned()));
        assert_eq!(offered(&with("\"{{ group.size ‸ }}\"")), OPERATORS);
        assert_eq!(offered(&with("\"{{ 'te‸xt' }}\"")), [""; 0]);
        assert_eq!(completed(&with("\"{{ gro‸ }}\""), "group"), with("\"{{ group }}\""));
        let log = format!("{STEPS}    log: \"now {{{{ up.‸");
        assert_eq!(offered(&log), ["before", "group"]);
        assert_eq!(
            offered(&format!("{STEPS}    when: >-\n      {{{{ group.size > 3\n      and ‸")),
            ["inputs", "group"]
        );
        assert_eq!(
            offered(&format!("{STEPS}outputs:\n  size: \"{{{{ up.‸ }}}}\"")),
            ["before", "group"]
        );
    }

    #[test]
    fn the_item_of_a_loop_has_its_type() {
        let text = |with: &str| {
            format!(
                "{STEPS}  - id: each_node\n    for_each: \"{{{{ group.nodes }}}}\"\n    action: scale\n    with: {{desired: {with}}}\n"
            )
        };
        assert_eq!(offered(&text("\"{{ ‸ }}\""))[0], "each");
        assert_eq!(offered(&text("\"{{ each.‸ }}\"")), ["name", "labels"]);
    }

    /// While a text is written, its lines often are not YAML.
    #[test]
    fn a_text_that_is_not_yaml_is_completed_too() {
        let open_quote = format!(
            "{STEPS}  - id: more\n    action: scale\n    with:\n      desired: \"{{{{ group.‸\n  - id: last\n    action: scale\n"
        );
        assert_eq!(offered(&open_quote), ["region", "name", "size", "nodes"]);
        let open_bracket = format!(
            "{STEPS}  - id: more\n    action: scale\n    with: {{desired: \"{{{{ up.‸\n  - id: last\n"
        );
        assert_eq!(offered(&open_bracket), ["before", "group"]);
        let elsewhere = format!("descripton\n{STEPS}  - id: more\n    when: \"{{{{ up.‸ }}}}\"\n");
        assert_eq!(offered(&elsewhere), ["before", "group"]);
        let unquoted = format!("{STEPS}  - id: more\n    when: {{{{ up.‸ }}}}\n");
        assert_eq!(offered(&unquoted), ["before", "group"]);
    }
}
