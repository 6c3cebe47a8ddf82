//! The expression at the cursor, read backwards from it: what is before a `.`, whether a filter or a test is
//! expected. Pure text: it need not be an expression yet.

use std::ops::Range;

/// The cursor in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpressionCursor<'t> {
    pub(super) expected: Expected<'t>,
    /// The span of the name at the cursor, in the file.
    pub(super) name: Range<usize>,
}

/// The kind of word that is expected at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected<'t> {
    /// A name: `inputs`, a step, `each`.
    Name,
    /// A field of this expression.
    Field(&'t str),
    /// A filter.
    Filter,
    /// A test.
    Test,
    /// An operator or a word such as `if`.
    Operator,
    /// The name of a field of the items of this expression: `map(attribute='‸')`.
    ItemField(&'t str),
    /// The text of a string.
    Text,
}

/// Returns the template that the cursor is in: the span between the braces, which may be open at the end.
pub(super) fn around(text: &str, within: Range<usize>, offset: usize) -> Option<Range<usize>> {
    let before = text.get(within.start..offset)?;
    let open = before.rfind("{{")?;
    if before[open..].contains("}}") {
        return None;
    }
    let start = within.start + open + "{{".len();
    if start > offset {
        return None;
    }
    let after = text.get(offset..within.end).unwrap_or_default();
    let ends = [after.find("}}"), after.find("{{"), after.find('\n')];
    let end = offset + ends.into_iter().flatten().min().unwrap_or(after.len());
    Some(start..end)
}

/// Reads the expression of a template at the cursor.
pub(super) fn at<'t>(
    text: &'t str,
    template: &Range<usize>,
    offset: usize,
) -> ExpressionCursor<'t> {
    let before = text.get(template.start..offset).unwrap_or_default();
    let after = text.get(offset..template.end).unwrap_or_default();
    let head = before.trim_end_matches(is_of_name);
    let tail = after.len() - after.trim_start_matches(is_of_name).len();
    let name = template.start + head.len()..offset + tail;
    let expected = if let Some(quote) = open_quote(head) {
        match item_field(&head[..quote]) {
            Some(base) => Expected::ItemField(base),
            None => Expected::Text,
        }
    } else {
        expected(head)
    };
    ExpressionCursor { expected, name }
}

fn expected(head: &str) -> Expected<'_> {
    let trimmed = head.trim_end();
    if let Some(base) = trimmed.strip_suffix('.') {
        return Expected::Field(operand(base));
    }
    if trimmed.ends_with('|') {
        return Expected::Filter;
    }
    let word = trimmed.rsplit(|c| !is_of_name(c)).next().unwrap_or_default();
    match word {
        "not" if last_word(trimmed.strip_suffix("not").unwrap_or_default()) == "is" => {
            Expected::Test
        }
        "is" => Expected::Test,
        "and" | "or" | "not" | "if" | "else" | "in" => Expected::Name,
        "" if trimmed.ends_with([')', ']', '\'', '"', '}']) => Expected::Operator,
        "" => Expected::Name,
        // A blank after an operand; without it, the cursor would be in the operand.
        _ => Expected::Operator,
    }
}

fn last_word(text: &str) -> &str {
    text.trim_end().rsplit(|c| !is_of_name(c)).next().unwrap_or_default()
}

/// Returns the list of `LIST | map(attribute=` and of `LIST | selectattr(`.
fn item_field(head: &str) -> Option<&str> {
    let call = match head.trim_end().strip_suffix("attribute=") {
        Some(call) => call.trim_end().strip_suffix('(')?,
        None => head.trim_end().strip_suffix('(')?,
    };
    let name = last_word(call);
    let takes_field = matches!(name, "selectattr" | "rejectattr")
        || head.trim_end().ends_with('=')
            && matches!(name, "map" | "join" | "sum" | "sort" | "unique" | "min" | "max");
    let base = call.strip_suffix(name)?.trim_end().strip_suffix('|')?;
    takes_field.then(|| pipeline(base))
}

/// Returns the position of a quote that is open at the end of a text.
fn open_quote(text: &str) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    for (at, c) in text.char_indices() {
        match open {
            Some((_, quote)) if c == quote => open = None,
            None if matches!(c, '\'' | '"') => open = Some((at, c)),
            _ => {}
        }
    }
    open.map(|(at, _)| at)
}

/// Returns the operand that a text ends with: `a.b[0]`, `(a | first)`.
fn operand(text: &str) -> &str {
    let mut start = text.len();
    loop {
        let head = &text[..start];
        start = if head.ends_with([')', ']']) {
            match opening(head) {
                Some(at) => at,
                None => break,
            }
        } else if head.ends_with(is_of_name) {
            head.trim_end_matches(is_of_name).len()
        } else if head.ends_with('.') {
            head.len() - 1
        } else {
            break;
        };
    }
    text[start..].trim_start_matches('.')
}

/// Returns what a filter at the end of a text is applied to: an operand with the filters before it.
fn pipeline(text: &str) -> &str {
    let text = text.trim_end();
    let mut start = text.len() - operand(text).len();
    while let Some(head) = text[..start].trim_end().strip_suffix('|') {
        let head = head.trim_end();
        start = head.len() - operand(head).len();
    }
    &text[start..]
}

/// Returns the position of the bracket that the last one of a text closes.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices().rev() {
        match c {
            ')' | ']' => depth += 1,
            '(' | '[' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(marked: &str) -> (Expected<'static>, String) {
        let offset = marked.find('‸').unwrap();
        let text: &'static str = Box::leak(marked.replace('‸', "").into_boxed_str());
        let template = around(text, 0..text.len(), offset).unwrap();
        let cursor = at(text, &template, offset);
        (cursor.expected, text[cursor.name].to_owned())
    }

    #[test]
    fn what_is_before_the_cursor_says_what_is_expected() {
        for (marked, expected, name) in [
            ("{{ ‸ }}", Expected::Name, ""),
            ("{{‸", Expected::Name, ""),
            ("{{ gro‸up.name }}", Expected::Name, "group"),
            ("a {{ b }} {{ not c‸", Expected::Name, "c"),
            ("{{ 1 + ‸", Expected::Name, ""),
            ("{{ group.‸ }}", Expected::Field("group"), ""),
            ("{{ x + group.nodes[0].na‸me }}", Expected::Field("group.nodes[0]"), "name"),
            ("{{ (a.b | first).‸", Expected::Field("(a.b | first)"), ""),
            ("{{ a['b'].c.‸", Expected::Field("a['b'].c"), ""),
            ("{{ a | ‸ }}", Expected::Filter, ""),
            ("{{ a | first | jo‸in(',') }}", Expected::Filter, "join"),
            ("{{ a is ‸ }}", Expected::Test, ""),
            ("{{ a is not de‸", Expected::Test, "de"),
            ("{{ a ‸ }}", Expected::Operator, ""),
            ("{{ a.b i‸", Expected::Operator, "i"),
            ("{{ f(a) ‸", Expected::Operator, ""),
            ("{{ 'it‸s' }}", Expected::Text, "its"),
            ("{{ a.b | map(attribute='‸') }}", Expected::ItemField("a.b"), ""),
            ("{{ x ~ (a | list | selectattr('n‸", Expected::ItemField("a | list"), "n"),
        ] {
            assert_eq!(read(marked), (expected, name.to_owned()), "{marked}");
        }
    }

    #[test]
    fn the_text_around_templates_is_not_in_one() {
        for marked in ["‸{{ a }}", "{{ a }}‸", "{{ a }} ‸ {{ b }}", "{‸{ a }}", "‸"] {
            let offset = marked.find('‸').unwrap();
            let text = marked.replace('‸', "");
            assert_eq!(around(&text, 0..text.len(), offset), None, "{marked}");
        }
    }
}
