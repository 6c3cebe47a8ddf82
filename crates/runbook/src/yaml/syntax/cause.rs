//! The causes of syntax errors, in plain words.

use std::fmt;

use super::super::super::misleading::Misleading;

/// The cause of a syntax error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cause {
    /// A conflict of git, with the sign of its marker.
    Conflict(String),
    /// A character that looks like another one.
    Character(Misleading),
    Tab,
    UnclosedQuote(char),
    /// A string that ends before the text that follows, because of a quote inside it.
    QuoteInside(char),
    /// A text after a string that is complete.
    AfterQuote,
    UnclosedBracket(char),
    /// A bracket that is closed by one of another kind.
    WrongBracket {
        open: char,
        close: char,
    },
    ExtraBracket(char),
    UnquotedTemplate,
    /// A ': ' inside a value.
    ColonInValue,
    /// A missing comma, with what follows it.
    MissingComma(String),
    /// A missing space after the colon of a key.
    MissingSpace(String),
    /// A missing colon after a key.
    MissingColon(String),
    /// A missing dash before a list item, with its first key.
    MissingDash(String),
    /// A dash without a space after it.
    DashWithoutSpace,
    /// A key with another indentation than the one beside it.
    WrongIndent {
        key: String,
        found: usize,
        wanted: usize,
        sibling: String,
    },
    /// A key under a key that has a value.
    KeyUnderValue {
        key: String,
        parent: String,
    },
    DashAfterKey,
    /// A list item among keys.
    DashAmongKeys,
    Reserved(char),
    /// A comment of another language, with its sign.
    ForeignComment(&'static str),
    /// A text that begins with a bracket.
    BracketInText(char),
    /// A text after a value in brackets.
    AfterBrackets,
    /// A second dash at the start of a list item.
    TwoDashes,
    Control(char),
    /// A backslash with a character that has no meaning after one.
    Escape(String),
    BlockScalarHeader,
    BlockScalarIndent,
    GluedComment,
    AfterEnd,
    Indentation,
    Other,
}

/// Returns the bracket that closes another.
pub(super) fn closer(open: char) -> char {
    match open {
        '[' => ']',
        '(' => ')',
        _ => '}',
    }
}

/// The message: what is wrong.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(sign) => {
                write!(f, "'{sign}' marks a merge conflict of git that is not resolved")
            }
            Self::Character(found) => found.fmt(f),
            Self::Tab => f.write_str("a tab in the indentation: YAML takes only spaces"),
            Self::UnclosedQuote(quote) => {
                write!(f, "the string that starts here has no closing quote ({quote})")
            }
            Self::QuoteInside(quote) => {
                write!(f, "this {quote} ends the string, but its text goes on")
            }
            Self::AfterQuote => f.write_str("this text is outside of the quotes before it"),
            Self::UnclosedBracket(open) => {
                write!(f, "this '{open}' is not closed: a '{}' is missing", closer(*open))
            }
            Self::WrongBracket { open, close } => {
                write!(f, "this '{open}' is closed by '{close}' instead of '{}'", closer(*open))
            }
            Self::ExtraBracket(close) => {
                write!(f, "this '{close}' closes nothing: there is no open bracket for it")
            }
            Self::UnquotedTemplate => {
                f.write_str("unquoted template: YAML reads '{' as the start of a mapping")
            }
            Self::ColonInValue => {
                f.write_str("this text has a ':' in it, so YAML reads it as a key with a value")
            }
            Self::MissingComma(next) => write!(f, "a ',' is missing before '{next}'"),
            Self::MissingSpace(key) => write!(f, "a space is missing after '{key}:'"),
            Self::MissingColon(key) => write!(f, "a ':' is missing after '{key}'"),
            Self::MissingDash(key) => {
                write!(f, "a '-' is missing before '{key}': each item of a list starts with '- '")
            }
            Self::DashWithoutSpace => f.write_str("a space is missing after '-'"),
            Self::WrongIndent { key, found: 0, wanted, sibling } => {
                write!(f, "'{key}' is not indented, but '{sibling}' beside it by {wanted} spaces")
            }
            Self::WrongIndent { key, found, wanted, sibling } => {
                let plural = if *found == 1 { "" } else { "s" };
                write!(
                    f,
                    "'{key}' is indented by {found} space{plural}, but '{sibling}' beside it by {wanted}"
                )
            }
            Self::KeyUnderValue { key, parent } => {
                write!(f, "'{key}' is indented under '{parent}', which has a value already")
            }
            Self::DashAfterKey => f.write_str("a list item cannot be on the line of its key"),
            Self::DashAmongKeys => f.write_str("a list item among the keys of a mapping"),
            Self::Reserved(character) => {
                write!(f, "an unquoted value cannot start with '{character}'")
            }
            Self::ForeignComment(sign) => {
                write!(f, "'{sign}' begins no comment in YAML: a comment begins with '#'")
            }
            Self::BracketInText(open) => {
                let what = if *open == '[' { "list" } else { "mapping" };
                write!(f, "this text begins with '{open}', so YAML reads a {what}")
            }
            Self::AfterBrackets => f.write_str("this text is outside of the brackets before it"),
            Self::TwoDashes => f.write_str("this second '-' begins a list within the list"),
            Self::Control(character) => write!(
                f,
                "the control character U+{:04X} is not allowed in the file",
                u32::from(*character)
            ),
            Self::Escape(escape) => {
                write!(f, "'{escape}' has no meaning in a string in double quotes")
            }
            Self::BlockScalarHeader => {
                f.write_str("a text after '|' or '>' begins on the next line")
            }
            Self::BlockScalarIndent => {
                f.write_str("this line is indented less than the text after '|' or '>' needs")
            }
            Self::GluedComment => f.write_str("a space is missing before '#'"),
            Self::AfterEnd => f.write_str("text after the end of the file that '...' marks"),
            Self::Indentation => {
                f.write_str("the indentation of this line does not fit the lines above it")
            }
            Self::Other => f.write_str("this line does not fit the lines above it"),
        }
    }
}

impl Cause {
    /// Returns the remedy.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Conflict(_) => {
                "keep one of the two versions, and remove the lines with '<<<<<<<', '=======' and '>>>>>>>'".into()
            }
            Self::Character(found) => found.help(),
            Self::Tab => "indent with spaces".into(),
            Self::UnclosedQuote(quote) => format!("add {quote} where the string ends"),
            Self::QuoteInside('\'') => "write '' for a ' inside single quotes, or put the text in double quotes".into(),
            Self::QuoteInside(_) => {
                "write \\\" for a \" inside double quotes, and ' inside {{ … }}".into()
            }
            Self::AfterQuote => "put the whole text in quotes".into(),
            Self::UnclosedBracket(open) | Self::WrongBracket { open, .. } => {
                format!("add '{}' where it ends", closer(*open))
            }
            Self::ExtraBracket(_) => "remove it, or add the bracket that opens it".into(),
            Self::UnquotedTemplate => "put the whole value in quotes: \"{{ … }}\"".into(),
            Self::ColonInValue => "put the text in quotes".into(),
            Self::MissingComma(_) => "separate the values by ', '".into(),
            Self::MissingSpace(key) => format!("write '{key}: …'"),
            Self::MissingColon(key) => format!("write '{key}: …'"),
            Self::MissingDash(key) => format!("write '- {key}'"),
            Self::DashWithoutSpace => "write '- '".into(),
            Self::WrongIndent { wanted: 0, .. } => "remove the spaces before it".into(),
            Self::WrongIndent { wanted, sibling, .. } => {
                format!("indent it by {wanted} spaces, as '{sibling}'")
            }
            Self::KeyUnderValue { parent, .. } => {
                format!("indent it as '{parent}', or remove the value of '{parent}'")
            }
            Self::DashAfterKey => "write the list on the lines below the key, or in brackets: [a, b]".into(),
            Self::DashAmongKeys => "indent it under the key that it belongs to, or remove the '-'".into(),
            Self::Reserved(_) => "put the value in quotes".into(),
            Self::ForeignComment(_) => "write '# …'".into(),
            Self::BracketInText(_) => "put the whole text in quotes".into(),
            Self::AfterBrackets => {
                "remove it, or write a ',' before it within the brackets; a comment begins with ' #'".into()
            }
            Self::TwoDashes => "write one '- '".into(),
            Self::Control(_) => "remove it".into(),
            Self::Escape(_) => "write \\\\ for a backslash, or use single quotes".into(),
            Self::BlockScalarHeader => "move the text to the next line, indented under its key".into(),
            Self::BlockScalarIndent => "indent all lines of the text alike".into(),
            Self::GluedComment => "write ' #', or put the text in quotes".into(),
            Self::AfterEnd => "remove '...', and put each runbook in a separate file".into(),
            Self::Indentation => "indent it as the keys beside it".into(),
            Self::Other => "check the indentation, the quotes and the brackets of this line and of the one above".into(),
        }
    }
}
