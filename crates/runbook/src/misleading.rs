//! Characters that look like others, or like nothing.

/// A character that is taken for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misleading {
    pub(crate) character: char,
    /// The name of the character.
    pub(crate) name: &'static str,
    /// The text that is meant.
    pub(crate) meant: &'static str,
}

/// The message: what the character is.
impl std::fmt::Display for Misleading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = u32::from(self.character);
        write!(f, "this character is {} (U+{code:04X})", self.name)?;
        match self.meant {
            "" => f.write_str(", which is not visible"),
            " " => f.write_str(", not a space"),
            meant => write!(f, ", not {}", named(meant)),
        }
    }
}

impl Misleading {
    /// Returns the remedy.
    pub(crate) fn help(&self) -> String {
        match self.meant {
            "" => "remove it".to_owned(),
            " " => "replace it by a space".to_owned(),
            meant => format!("write {}", named(meant)),
        }
    }
}

/// Returns the name of a character that is meant.
fn named(meant: &str) -> String {
    match meant {
        "'" => "\"'\"".to_owned(),
        other => format!("'{other}'"),
    }
}

/// The characters, each with its name and with what is meant.
const MISLEADING: &[(char, &str, &str)] = &[
    ('\u{a0}', "a no-break space", " "),
    ('\u{202f}', "a narrow no-break space", " "),
    ('\u{2007}', "a figure space", " "),
    ('\u{2009}', "a thin space", " "),
    ('\u{2002}', "an en space", " "),
    ('\u{2003}', "an em space", " "),
    ('\u{3000}', "an ideographic space", " "),
    ('\u{200b}', "a zero width space", ""),
    ('\u{200c}', "a zero width non-joiner", ""),
    ('\u{200d}', "a zero width joiner", ""),
    ('\u{2060}', "a word joiner", ""),
    ('\u{feff}', "a byte order mark", ""),
    ('\u{ad}', "a soft hyphen", ""),
    ('\u{200e}', "a left-to-right mark", ""),
    ('\u{200f}', "a right-to-left mark", ""),
    ('\u{201c}', "a typographic quote", "\""),
    ('\u{201d}', "a typographic quote", "\""),
    ('\u{201e}', "a typographic quote", "\""),
    ('\u{ab}', "a typographic quote", "\""),
    ('\u{bb}', "a typographic quote", "\""),
    ('\u{2018}', "a typographic quote", "'"),
    ('\u{2019}', "a typographic quote", "'"),
    ('\u{201a}', "a typographic quote", "'"),
    ('\u{2010}', "a typographic hyphen", "-"),
    ('\u{2011}', "a no-break hyphen", "-"),
    ('\u{2013}', "an en dash", "-"),
    ('\u{2014}', "an em dash", "-"),
    ('\u{2212}', "a minus sign", "-"),
    ('\u{2022}', "a bullet", "-"),
    ('\u{ff1a}', "a fullwidth colon", ":"),
    ('\u{ff0c}', "a fullwidth comma", ","),
    ('\u{ff5b}', "a fullwidth brace", "{"),
    ('\u{ff5d}', "a fullwidth brace", "}"),
    ('\u{3001}', "an ideographic comma", ","),
    ('\u{2026}', "an ellipsis", "..."),
    ('\u{2264}', "a sign for 'at most'", "<="),
    ('\u{2265}', "a sign for 'at least'", ">="),
    ('\u{2260}', "a sign for 'not equal'", "!="),
    ('\u{d7}', "a multiplication sign", "*"),
];

/// Returns what is known of a character, if it is taken for another one.
pub(crate) fn misleading(character: char) -> Option<Misleading> {
    if character.is_ascii() {
        return None;
    }
    let row = MISLEADING.iter().find(|(known, ..)| *known == character);
    row.map(|&(character, name, meant)| Misleading { character, name, meant })
}
