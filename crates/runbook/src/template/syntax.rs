//! Says in plain words what is wrong with an expression that does not parse, and where.

use std::ops::Range;

use super::super::misleading::misleading;
use super::filters;
use super::parse::is_valid;

/// The mistake in an expression.
#[derive(Debug, Clone)]
pub(crate) struct SyntaxProblem {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The text to replace the span with.
    pub(crate) suggestion: Option<String>,
}

/// A problem with its place in the text.
type Placed = (Range<usize>, SyntaxProblem);

/// The operators of other languages: what is written, and what to write.
const OPERATORS: &[(&str, &str)] = &[
    ("!==", "!="),
    ("===", "=="),
    ("&&", "and"),
    ("||", "or"),
    ("<>", "!="),
    ("=>", ">="),
    ("=<", "<="),
    ("=~", "=="),
    ("->", "."),
    ("::", "."),
    ("&", "and"),
    ("!", "not "),
    ("=", "=="),
];

/// The words of other languages between two values: what is written, and what to write.
const WORDS: &[(&str, &str)] = &[
    ("and", "and"),
    ("or", "or"),
    ("xor", "!="),
    ("eq", "=="),
    ("equals", "=="),
    ("ne", "!="),
    ("neq", "!="),
    ("gt", ">"),
    ("ge", ">="),
    ("gte", ">="),
    ("lt", "<"),
    ("le", "<="),
    ("lte", "<="),
    ("mod", "%"),
    ("div", "//"),
    ("then", "if"),
];

/// Explains the error that the parser reports at a span of a text.
pub(super) fn explain(text: &str, span: Range<usize>, detail: &str) -> Placed {
    let expression = Expression::around(text, span.start);
    if let Some(placed) = single_brace(text) {
        return placed;
    }
    expression
        .braces()
        .or_else(|| expression.nested())
        .or_else(|| expression.brackets())
        .or_else(|| expression.character(&span))
        .or_else(|| expression.operator(&span))
        .or_else(|| expression.foreign(&span))
        .unwrap_or_else(|| expression.by_detail(span, detail))
}

/// Finds the first template that is closed by one brace, whatever comes after it.
fn single_brace(text: &str) -> Option<Placed> {
    let mut from = 0;
    while let Some(open) = text.get(from..)?.find("{{").map(|at| from + at) {
        let inside = text.get(open + 2..)?;
        let end = closing_brace(inside)?;
        let after = inside.get(end + 1..)?;
        let expression = inside.get(..end)?.trim();
        from = open + 2 + end + 2;
        if after.starts_with('}') {
            continue;
        }
        let template = format!("{{{{ {expression} }}}}");
        if !is_valid(&template) {
            return None;
        }
        let span = open..open + 2 + end + 1;
        let mut found = problem("'{{' is closed by one '}' instead of two");
        found.help = Some(format!("write {}", shown(&template)));
        found.suggestion = Some(template);
        return Some((span, found));
    }
    None
}

/// Returns the place of the first `}` that closes nothing in an expression.
fn closing_brace(inside: &str) -> Option<usize> {
    const MAX_LENGTH: usize = 2_000;
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    for (at, character) in inside.char_indices().take(MAX_LENGTH) {
        match (quote, character) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(closing), _) if character == closing => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn problem(message: impl Into<String>) -> SyntaxProblem {
    SyntaxProblem { message: message.into(), help: None, suggestion: None }
}

/// Returns the end of a part of an expression for a message.
fn shown_end(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    let start = text.floor_char_boundary(text.len().saturating_sub(MAX_SHOWN));
    if start > 0 { format!("…{}", &text[start..]) } else { text.to_owned() }
}

/// Returns a part of an expression for a message, shortened when it is long.
fn shown(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    let short: String = text.chars().take(MAX_SHOWN).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

impl SyntaxProblem {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// An expression in a text.
struct Expression<'t> {
    text: &'t str,
    /// The place of what is between the braces.
    inside: Range<usize>,
    is_closed: bool,
}

impl<'t> Expression<'t> {
    /// Finds the expression at a place.
    fn around(text: &'t str, at: usize) -> Self {
        let at = text.floor_char_boundary(at.min(text.len()));
        // The place can be that of the braces themselves.
        let upto = text.ceil_char_boundary((at + 2).min(text.len()));
        let open = text[..upto].rfind("{{").map(|open| {
            // Of three braces, the first two are those of the template.
            let open = open - (text[..open].len() - text[..open].trim_end_matches('{').len());
            // Braces within braces are a part of the outer template.
            let before = text[..open].trim_end();
            if before.ends_with("{{") { before.len() - 2 } else { open }
        });
        let start = open.map_or(0, |open| open + 2);
        let end = outside_strings(&text[start..], "}}").or_else(|| text[start..].find("}}"));
        let inside = start..end.map_or(text.len(), |end| start + end);
        Self { text, inside, is_closed: end.is_some() }
    }

    fn str(&self) -> &'t str {
        &self.text[self.inside.clone()]
    }

    /// Returns the text with a span replaced, if it is then valid.
    fn replaced(&self, span: &Range<usize>, by: &str) -> Option<String> {
        const MAX_LENGTH: usize = 400;
        let (before, after) = (self.text.get(..span.start)?, self.text.get(span.end..)?);
        let is_short = by.len() <= MAX_LENGTH;
        (is_short && is_valid(&format!("{before}{by}{after}"))).then(|| by.to_owned())
    }

    /// Finds three braces in place of two.
    fn braces(&self) -> Option<Placed> {
        if let Some(inner) = self.str().strip_prefix('{')
            && !inner.contains(':')
            && self.text.get(self.inside.end..)?.starts_with("}}}")
        {
            let span = self.inside.start - 2..self.inside.end + 3;
            let mut found = problem("a template has two braces on each side, not three");
            found.suggestion = self.replaced(&span, &format!("{{{{{inner}}}}}"));
            found.help =
                found.suggestion.as_ref().map(|template| format!("write {}", shown(template)));
            return Some((span, found));
        }
        let trimmed = self.str().trim();
        if let Some(inner) = trimmed.strip_prefix("{{") {
            // `{{ {{ a }} }}`: the inner braces end the template.
            let span = self.inside.start - 2..self.inside.end + 2;
            let rest = self.text.get(span.end..).unwrap_or_default();
            let length = rest.trim_start().starts_with("}}").then(|| {
                let blanks = rest.len() - rest.trim_start().len();
                span.end + blanks + 2
            });
            let span = span.start..length.unwrap_or(span.end);
            let mut found = problem("a template has no braces within its braces");
            let inner = inner.strip_suffix("}}").unwrap_or(inner).trim();
            found = found.help(format!("write {{{{ {} }}}}", shown(inner)));
            found.suggestion = self.replaced(&span, &format!("{{{{ {inner} }}}}"));
            return Some((span, found));
        }
        let name = trimmed.strip_prefix('{')?.strip_suffix('}')?;
        if name.trim().is_empty() || name.contains([':', '{', ',']) {
            return None;
        }
        let at = self.inside.start + self.str().find('{')?;
        let span = at..at + trimmed.len();
        let mut found = problem("a name in a template has no braces of its own");
        found = found.help(format!("write {{{{ {} }}}}", shown(name.trim())));
        found.suggestion = self.replaced(&span, name.trim());
        Some((span, found))
    }

    /// Finds braces around a part of an expression: `a >= {{ b }}`.
    fn nested(&self) -> Option<Placed> {
        // The inner braces end what is taken for the template, or are taken for it.
        let open = self.inside.start.checked_sub(2)?;
        let before = self.text.get(..open)?;
        let outer = before.rfind("{{").filter(|outer| !before[*outer..].contains("}}"));
        let at = match outer {
            Some(_) => open,
            None => self.inside.start + outside_strings(self.str(), "{{")?,
        };
        let inner = self.text.get(at + 2..self.inside.end)?.trim();
        let span = at..self.inside.end + 2;
        let suggestion = self.replaced(&span, inner);
        // There may be others of the kind.
        let others = self.text.get(span.end..)?.find("{{").is_some();
        if inner.is_empty() || suggestion.is_none() && !others {
            return None;
        }
        let mut found = problem("a template has no braces within its braces");
        found = found.help(format!("write {}", shown(inner)));
        found.suggestion = suggestion;
        Some((span, found))
    }

    /// Finds a string or a bracket that is not closed.
    fn brackets(&self) -> Option<Placed> {
        let mut open: Vec<(usize, char)> = Vec::new();
        let mut quote: Option<(usize, char)> = None;
        let mut is_escaped = false;
        for (at, character) in self.str().char_indices() {
            let at = self.inside.start + at;
            match (quote, character) {
                (Some(_), _) if is_escaped => is_escaped = false,
                (Some(_), '\\') => is_escaped = true,
                (Some((_, closing)), _) => {
                    if character == closing {
                        quote = None;
                    }
                }
                (None, '"' | '\'') => quote = Some((at, character)),
                (None, '(' | '[' | '{') => open.push((at, character)),
                (None, ')' | ']' | '}') => match open.pop() {
                    Some((_, opening)) if closer(opening) == character => {}
                    Some((at, opening)) => {
                        let wanted = closer(opening);
                        let message = format!(
                            "this '{opening}' is closed by '{character}' instead of '{wanted}'"
                        );
                        let help = format!("add '{wanted}' where it ends");
                        return Some((at..at + 1, problem(message).help(help)));
                    }
                    None => {
                        let message = format!(
                            "this '{character}' closes nothing: there is no open bracket for it"
                        );
                        let mut found = problem(message).help("remove it");
                        found.suggestion = self.replaced(&(at..at + 1), "");
                        return Some((at..at + 1, found));
                    }
                },
                (None, _) => {}
            }
        }
        if let Some((at, quote)) = quote {
            let rest = self.text.get(at..self.inside.end)?.trim_end();
            let message = format!("the string that starts here has no closing quote ({quote})");
            let mut found = problem(message).help(format!("add {quote} where the string ends"));
            let span = at..at + rest.len();
            found.suggestion = self.replaced(&span, &format!("{rest}{quote}"));
            return Some((span, found));
        }
        let &(at, opening) = open.last().filter(|_| self.is_closed)?;
        let wanted = closer(opening);
        let message = format!("this '{opening}' is not closed: a '{wanted}' is missing");
        let mut found = problem(message).help(format!("add '{wanted}' where it ends"));
        let rest = self.text.get(at..self.inside.end)?.trim_end();
        let span = at..at + rest.len();
        found.suggestion = self.replaced(&span, &format!("{rest}{wanted}"));
        let span = if found.suggestion.is_some() { span } else { at..at + 1 };
        Some((span, found))
    }

    /// Finds a character that looks like another one.
    fn character(&self, span: &Range<usize>) -> Option<Placed> {
        let upto = self.text.get(..self.inside.end)?;
        let from = span.start.max(self.inside.start);
        let (at, found) = upto
            .get(from..)?
            .char_indices()
            .chain(
                self.str()
                    .char_indices()
                    .map(|(at, c)| (at.wrapping_sub(from - self.inside.start), c)),
            )
            .find_map(|(at, character)| Some((from.wrapping_add(at), misleading(character)?)))?;
        let span = at..at + found.character.len_utf8();
        let mut result = problem(found.to_string()).help(found.help());
        result.suggestion = Some(found.meant.to_owned());
        Some((span, result))
    }

    /// Finds an operator of another language at the place of the error.
    fn operator(&self, span: &Range<usize>) -> Option<Placed> {
        // The parser accepts the first sign of some.
        for back in [2, 1, 0] {
            let Some(from) = span.start.checked_sub(back).filter(|from| *from >= self.inside.start)
            else {
                continue;
            };
            let Some(rest) = self.text.get(from..self.inside.end) else { continue };
            let is_comparison = back == 0
                && (rest.starts_with("==") || rest.starts_with("!="))
                && rest.as_bytes().get(2) != Some(&b'=');
            if is_comparison {
                continue;
            }
            let long_enough = |sign: &str| sign.len() > back;
            let found =
                OPERATORS.iter().find(|(sign, _)| long_enough(sign) && rest.starts_with(sign));
            let Some((sign, ours)) = found else { continue };
            let span = from..from + sign.len();
            let shown = ours.trim();
            let before = self.text.get(self.inside.start..from).unwrap_or_default().trim_end();
            let is_lambda = *sign == "=>"
                && ["(", ","].iter().any(|sign| {
                    let name = |c: char| c.is_alphanumeric() || c == '_' || c == ' ';
                    before.trim_end_matches(name).ends_with(sign)
                });
            if is_lambda {
                let found = problem("there are no functions with '=>' in a template");
                let help = "write list | selectattr('FIELD') or list | map(attribute='FIELD')";
                return Some((span, found.help(help)));
            }
            let mut found = problem(format!("'{sign}' is not an operator here"));
            found.help = Some(format!("write '{shown}'"));
            found.suggestion = self.replaced(&span, ours);
            return Some((span, found));
        }
        None
    }

    /// Finds a form of another language at the place of the error.
    fn foreign(&self, span: &Range<usize>) -> Option<Placed> {
        let rest = self.text.get(span.start..self.inside.end)?;
        let before = self.text.get(self.inside.start..span.start)?;
        if rest.starts_with('?') {
            return Some(self.question(span.start, before.trim(), rest));
        }
        if let Some(path) = rest.strip_prefix(".Values.").filter(|_| before.trim().is_empty()) {
            let name = path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
            let found = problem("'.Values' is a form of Helm: a runbook has inputs");
            let span = span.start..span.start + ".Values.".len() + name.len();
            let mut found = found.help(format!("write 'inputs.{}'", shown(name)));
            found.suggestion = self.replaced(&span, &format!("inputs.{name}"));
            return Some((span, found));
        }
        if rest.starts_with('$') {
            let sign = if rest.starts_with("$.") { "$." } else { "$" };
            let span = span.start..span.start + sign.len();
            let mut found = problem(format!("a name has no '{sign}' before it"));
            found = found.help(format!("remove '{sign}'"));
            found.suggestion = self.replaced(&span, "");
            return Some((span, found));
        }
        if rest.starts_with('.') && before.trim().is_empty() {
            let found = problem("an expression cannot start with '.'");
            let help = "write a name before it, such as inputs.NAME or STEP.FIELD";
            return Some((span.start..span.start + 1, found.help(help)));
        }
        None
    }

    /// Explains a `?` of another language.
    fn question(&self, at: usize, before: &str, rest: &str) -> Placed {
        let after = &rest[1..];
        if let Some(path) = after.strip_prefix('.') {
            let mut found = problem("'?.' is not an operator here")
                .help("write '.', and '| default(…)' after the path where it can be absent");
            found.suggestion = self.replaced(&(at..at + 2), ".").filter(|_| !path.is_empty());
            return (at..at + 2, found);
        }
        let other = after.strip_prefix('?').or(after.strip_prefix(':'));
        if let Some(other) = other {
            let sign = &rest[..2];
            let (before, other) = (shown(before), shown(other.trim()));
            let help = format!("write {before} | default({other})");
            return (at..at + 2, problem(format!("'{sign}' is not an operator here")).help(help));
        }
        let help = match outside_strings(after, ":") {
            Some(colon) => {
                let (yes, no) = (shown(after[..colon].trim()), shown(after[colon + 1..].trim()));
                let before = shown(before);
                format!("write {yes} if {before} else {no}")
            }
            None => "write 'a if condition else b'".to_owned(),
        };
        (at..at + 1, problem("'?' is not an operator here").help(help))
    }

    /// Explains what the parser says.
    fn by_detail(&self, span: Range<usize>, detail: &str) -> Placed {
        let before =
            self.text.get(self.inside.start..span.start.max(self.inside.start)).unwrap_or_default();
        let last = last_token(before);
        let last_at = self.inside.start + before.trim_end().len() - last.len();
        let is_end = detail.contains("end of variable block, expected")
            || detail.contains("unexpected end of variable block")
            || detail.contains("end of input");
        if is_end {
            if last.is_empty() {
                return (
                    span,
                    problem("the expression is empty").help("write a name such as inputs.NAME"),
                );
            }
            let last_shown = shown(last);
            let found = problem(format!("there is nothing after '{last_shown}'"));
            let help = format!("write what follows '{last_shown}', or remove it");
            return (last_at..last_at + last.len(), found.help(help));
        }
        let token = token_at(self.text.get(span.start..self.inside.end).unwrap_or_default());
        if token.is_empty() {
            let found = problem("this is not an expression");
            return (span, found.help("write a name such as inputs.NAME or STEP.FIELD"));
        }
        let span = span.start..span.start + token.len();
        let (token, last) = (shown(token), shown_end(last));
        let (token, last) = (token.as_str(), last.as_str());
        let is_value =
            token.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '"'));
        if last.ends_with('.') || detail.ends_with("expected identifier or integer") {
            let help = "write the name of a field after '.', or ['name'] for other characters";
            return (span, problem(format!("a name must follow '.', not '{token}'")).help(help));
        }
        if detail.ends_with("expected identifier") {
            let help = match last {
                "|" => "write the name of a filter after '|', such as length",
                "is" | "not" => "write the name of a test after 'is', such as defined or none",
                _ => "write a name",
            };
            return (
                span,
                problem(format!("a name must follow '{last}', not '{token}'")).help(help),
            );
        }
        if matches!(last, "not" | "is") && token.starts_with('=') {
            let (sign, ours) = if last == "not" { ("not ==", "!=") } else { ("is ==", "==") };
            let found = problem(format!("'{sign}' is not an operator"));
            return (span, found.help(format!("write a {ours} b")));
        }
        let is_after_value = last
            .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ')' | ']' | '\'' | '"'));
        if is_value && is_after_value {
            return self.two_values(span, last, token);
        }
        if token.starts_with(':') && filters::names().any(|name| name == last) {
            let found = problem(format!("the argument of '{last}' must be in parentheses"));
            return (span, found.help(format!("write {last}(…) without ':'")));
        }
        if token == "*" && last == "[" {
            return (span, self.splat());
        }
        let known = token.chars().next().is_some_and(|c| "+-*/%~|,.:()[]{}<>=!".contains(c));
        let found = if !known {
            problem(format!("'{token}' has no meaning in an expression"))
        } else if last.is_empty() {
            problem(format!("an expression cannot start with '{token}'"))
        } else {
            problem(format!("'{token}' cannot follow '{last}'"))
        };
        (span, found.help("write a value or a name between two operators"))
    }

    /// Explains `nodes[*].name`, which other languages have for a field of every item.
    fn splat(&self) -> SyntaxProblem {
        let inside = self.text.get(self.inside.clone()).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let meant = inside.split_once("[*].").and_then(|(before, after)| {
            let list = before.rsplit(|c| !is_name(c)).next().filter(|list| !list.is_empty())?;
            let field = after.split(|c| !is_name(c)).next().filter(|field| !field.is_empty())?;
            Some(format!("write {list} | map(attribute='{field}') | list"))
        });
        problem("'[*]' is not known: a filter takes a field of every item")
            .help(meant.unwrap_or_else(|| "write list | map(attribute='name') | list".to_owned()))
    }

    /// Explains two values without an operator between them.
    fn two_values(&self, span: Range<usize>, last: &str, token: &str) -> Placed {
        let lower = token.to_ascii_lowercase();
        if matches!(last, "and" | "or" | "in" | "if" | "else" | "is" | "not") {
            let before =
                self.text.get(self.inside.start..span.start).unwrap_or_default().trim_end();
            let at = self.inside.start + before.len() - last.len();
            let found = problem(format!("there is no value before '{last}'"));
            let help = match last {
                "if" | "else" => "write 'a if condition else b'".to_owned(),
                _ => format!("write 'a {last} b'"),
            };
            return (at..at + last.len(), found.help(help));
        }
        if last == "f" && token.starts_with(['"', '\'']) {
            let found = problem("a template has no f-strings");
            return (
                span.start - 1..span.end,
                found.help("join texts with '~', as in 'a' ~ inputs.NAME"),
            );
        }
        if let Some((_, ours)) = WORDS.iter().find(|(word, _)| *word == lower) {
            let mut found = problem(format!("'{token}' is not an operator here"));
            found = found.help(format!("write '{ours}'"));
            found.suggestion = self.replaced(&span, ours);
            return (span, found);
        }
        if filters::names().any(|name| name == last) && token.starts_with(['"', '\'']) {
            let found = problem(format!("the argument of '{last}' must be in parentheses"));
            return (span, found.help(format!("write {last}({token})")));
        }
        let message = format!("there is no operator between '{last}' and '{token}'");
        let is_filter = filters::names().any(|name| name == token);
        let mut found = problem(message);
        if is_filter {
            found.suggestion = self.replaced(&span, &format!("| {token}"));
            found.help = Some(format!("write '| {token}'"));
        } else if lower == "for" {
            found.help = Some(
                "use a filter in place of a loop: list | map(attribute='name') | list".to_owned(),
            );
        } else if matches!(lower.as_str(), "contains" | "includes" | "has") {
            found.help = Some("write 'item in list'".to_owned());
        } else if matches!(lower.as_str(), "matches" | "startswith" | "endswith") {
            found.help = Some("write 'text is startingwith(start)', or endingwith".to_owned());
        } else {
            found.help =
                Some("join texts with '~', compare with '==', and put a text in quotes".to_owned());
        }
        (span, found)
    }
}

/// Returns the bracket that closes another.
fn closer(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// Finds a sign outside of strings and brackets.
fn outside_strings(text: &str, sign: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(closing), _) => {
                if character == closing {
                    quote = None;
                }
            }
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if depth == 0 && text[at..].starts_with(sign) => return Some(at),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// Returns the name, number, string or sign at the start of a text.
fn token_at(text: &str) -> &str {
    let Some(first) = text.chars().next() else { return "" };
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let length = match first {
        '"' | '\'' => text[1..].find(first).map_or(text.len(), |end| end + 2),
        c if is_name(c) => text.find(|c: char| !is_name(c)).unwrap_or(text.len()),
        c => c.len_utf8(),
    };
    &text[..length]
}

/// Returns the last name, number or sign of a text.
fn last_token(text: &str) -> &str {
    let text = text.trim_end();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let Some(last) = text.chars().next_back() else { return "" };
    let start = match last {
        '"' | '\'' => text[..text.len() - 1].rfind(last).unwrap_or(0),
        c if is_name(c) => text
            .rfind(|c: char| !is_name(c) && c != '.')
            .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8)),
        _ => {
            let is_sign = |c: char| "+-*/<>=!".contains(c);
            let signs = text.len() - text.trim_end_matches(is_sign).len();
            text.len() - signs.max(last.len_utf8())
        }
    };
    &text[start..]
}
