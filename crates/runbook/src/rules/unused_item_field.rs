//! A field of an item that nothing in the step uses.

use std::collections::BTreeSet;

use super::super::analysis::{Role, TemplateSite};
use super::super::diagnostics::spelling::nearest;
use super::super::template::{self, parts};
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};
use minijinja::machinery::ast::Expr;

pub(crate) const RULE: Rule = Rule {
    code: "RB116",
    name: "unused_item_field",
    severity: Severity::Warning,
    summary: "a field of an item that nothing in the step uses",
    explanation: "\
The items of a literal 'for_each' are for the step alone. A field that neither 'with' nor 'log' uses has no effect:
often it is misspelled, in one of the items or in the template.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(items) = raw.for_each else { continue };
        let is_map = items.pairs().is_some();
        let values: Vec<&Node> = match (items.items(), items.pairs()) {
            (Some(items), _) => items.iter().collect(),
            (None, Some(pairs)) => pairs.iter().map(|(_, value)| value).collect(),
            (None, None) => continue,
        };
        if !values.iter().any(|value| value.pairs().is_some()) {
            continue;
        }
        let Some(used) = used(&step.sites, is_map) else { continue };
        for value in values {
            let pairs = value.pairs().unwrap_or_default();
            let is_given = |name: &str| pairs.iter().any(|(key, _)| key.text() == Some(name));
            for (key, _) in pairs {
                let Some(name) = key.text().filter(|name| !used.contains(*name)) else { continue };
                let message = format!("nothing in this step uses '{name}' of the item");
                let diagnostic = Diagnostic::new(&RULE, key.span.clone(), message);
                let names = used.iter().map(String::as_str).filter(|name| !is_given(name));
                let path = if is_map { "each.value" } else { "each" };
                diagnostics.push(match nearest(name, names) {
                    Some(meant) => diagnostic.replace(meant),
                    None => diagnostic.help(format!(
                        "use it as {{{{ {path}.{name} }}}} in 'with' or 'log', or remove it"
                    )),
                });
            }
        }
    }
}

/// Returns the fields of the item that the templates of a step use; `None` where one uses the whole item, or cannot be
/// read.
fn used(sites: &[TemplateSite<'_>], is_map: bool) -> Option<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    for site in sites.iter().filter(|site| !matches!(site.role, Role::ForEach | Role::When)) {
        // A field that no item has is reported by itself.
        if !site.inferred.issues.is_empty() {
            return None;
        }
        let template = template::parse(site.node.text()?).ok()?;
        for expr in template.expressions() {
            collect(expr, is_map, &mut used)?;
        }
    }
    Some(used)
}

fn collect(expr: &Expr<'_>, is_map: bool, used: &mut BTreeSet<String>) -> Option<()> {
    let is_each = |of: &Expr<'_>| matches!(of, Expr::Var(var) if var.id == "each");
    let is_item = |of: &Expr<'_>| match of {
        Expr::GetAttr(get) if is_map => is_each(&get.expr) && get.name == "value",
        other => !is_map && is_each(other),
    };
    match expr {
        Expr::GetAttr(get) if is_item(&get.expr) => {
            used.insert(get.name.to_owned());
        }
        Expr::GetItem(get) if is_item(&get.expr) => {
            used.insert(parts::word(&get.subscript_expr)?.to_owned());
        }
        Expr::GetAttr(get) if is_map && is_each(&get.expr) && get.name == "key" => {}
        other if is_each(other) || is_item(other) => return None,
        other => {
            for part in parts::children(other) {
                collect(part, is_map, used)?;
            }
        }
    }
    Some(())
}
