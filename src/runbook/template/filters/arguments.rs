//! What stands in the brackets of a filter or test.

use super::super::super::types::Type;

/// An argument.
pub(crate) struct Argument {
    /// The name before its `=`.
    pub(crate) name: Option<String>,
    pub(crate) ty: Type,
    /// Its text, where it is a constant one.
    pub(crate) word: Option<String>,
}

/// What a filter or test was given and cannot take.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) wanted: String,
    pub(crate) found: String,
}

impl Unfit {
    pub(super) fn new(wanted: &str, found: impl Into<String>) -> Self {
        Self { wanted: wanted.to_owned(), found: found.into() }
    }

    /// The value before the `|` or `is`.
    pub(super) fn input(wanted: &str, found: &Type) -> Self {
        Self::new(wanted, found.noun())
    }
}

/// What an argument must be.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    Any,
    Text,
    Integer,
    Number,
    Boolean,
    /// The name of a field of each item.
    Field,
}

impl Wanted {
    fn admits(self, ty: &Type) -> bool {
        match self {
            _ if *ty == Type::Any => true,
            Self::Any => true,
            Self::Text | Self::Field => ty.is_text(),
            Self::Integer => matches!(ty, Type::Integer(_)),
            Self::Number => ty.is_numeric(),
            Self::Boolean => *ty == Type::Boolean,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Field => "a field's name in quotes",
        }
    }
}

/// What may stand in the brackets.
pub(super) struct Parameters {
    least: usize,
    positional: &'static [Wanted],
    named: &'static [(&'static str, Wanted)],
    /// Judged elsewhere.
    free: bool,
}

impl Parameters {
    pub(super) const NONE: Self = Self::of(0, &[]);
    pub(super) const ANY: Self = Self { free: true, ..Self::of(0, &[]) };

    /// Some in order, of which the first `least` must be given.
    pub(super) const fn of(least: usize, positional: &'static [Wanted]) -> Self {
        Self { least, positional, named: &[], free: false }
    }

    /// Only named ones.
    pub(super) const fn named(named: &'static [(&'static str, Wanted)]) -> Self {
        Self::of(0, &[]).and(named)
    }

    /// The same with named ones.
    pub(super) const fn and(self, named: &'static [(&'static str, Wanted)]) -> Self {
        Self { named, ..self }
    }

    /// Whether arguments are what they must be.
    pub(super) fn judge(&self, args: &[Argument]) -> Result<(), Unfit> {
        if self.free {
            return Ok(());
        }
        let positional: Vec<&Argument> = args.iter().filter(|arg| arg.name.is_none()).collect();
        if !(self.least..=self.positional.len()).contains(&positional.len()) {
            return Err(Unfit::new(&self.count(), positional.len().to_string()));
        }
        for (arg, wanted) in positional.iter().zip(self.positional) {
            judge_one(arg, *wanted)?;
        }
        for arg in args {
            let Some(name) = &arg.name else { continue };
            let known = self.named.iter().find(|(known, _)| known == name);
            match known {
                Some((_, wanted)) => judge_one(arg, *wanted)?,
                None => return Err(Unfit::new(&self.names(), format!("'{name}='"))),
            }
        }
        Ok(())
    }

    fn count(&self) -> String {
        match (self.least, self.positional.len()) {
            (_, 0) => "no argument".to_owned(),
            (1, 1) => "one argument".to_owned(),
            (least, most) if least == most => format!("{least} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        }
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.named.iter().map(|(name, _)| format!("{name}=")).collect();
        if names.is_empty() { "no named argument".to_owned() } else { names.join(", ") }
    }
}

fn judge_one(arg: &Argument, wanted: Wanted) -> Result<(), Unfit> {
    if wanted.admits(&arg.ty) {
        return Ok(());
    }
    Err(Unfit::new(wanted.noun(), arg.ty.noun()))
}

/// The argument of a list filter that names a field of its items.
pub(super) fn field<'a>(filter: &str, args: &'a [Argument]) -> Option<&'a Argument> {
    let named = args.iter().find(|arg| arg.name.as_deref() == Some("attribute"));
    let place = match filter {
        "join" => 1,
        "sum" => 0,
        _ => return named,
    };
    named.or_else(|| args.iter().filter(|arg| arg.name.is_none()).nth(place))
}
