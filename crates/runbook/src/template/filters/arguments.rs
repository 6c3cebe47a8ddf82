//! The arguments of filters and tests.

use super::super::super::types::Type;

/// An argument.
pub(crate) struct FilterArgument {
    /// The name before `=`.
    pub(crate) name: Option<String>,
    pub(crate) ty: Type,
    /// The value, if the argument is a constant string.
    pub(crate) word: Option<String>,
}

/// The error for an input or argument that a filter or test does not accept.
#[derive(Debug)]
pub(crate) struct ArgumentMismatch {
    pub(crate) wanted: String,
    pub(crate) found: String,
    /// The index of the argument that is wrong; none where it is the value before `|` or `is`, or the number of
    /// arguments.
    pub(crate) at: Option<usize>,
    /// Whether its name is wrong, and not its value.
    pub(crate) is_name: bool,
    /// Whether the number of arguments is wrong.
    pub(crate) is_count: bool,
    /// Whether the items have no fields, whatever the argument is.
    pub(crate) is_fieldless: bool,
}

impl ArgumentMismatch {
    pub(super) fn new(wanted: &str, found: impl Into<String>) -> Self {
        let (wanted, found) = (wanted.to_owned(), found.into());
        Self { wanted, found, at: None, is_name: false, is_count: false, is_fieldless: false }
    }

    /// Returns the mismatch at an argument.
    pub(super) fn at(mut self, argument: usize) -> Self {
        if !self.is_fieldless {
            self.at = self.at.or(Some(argument));
        }
        self
    }

    /// The error for items that have no fields.
    pub(super) fn fieldless(found: &Type) -> Self {
        Self { is_fieldless: true, ..Self::input("a list of records", found) }
    }

    /// Returns the mismatch at the name of an argument.
    pub(super) fn at_name(self, argument: usize) -> Self {
        Self { is_name: true, ..self.at(argument) }
    }

    /// The error for the value before `|` or `is`.
    pub(super) fn input(wanted: &str, found: &Type) -> Self {
        Self::new(wanted, found.with_article())
    }
}

/// The type that an argument must have.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    Any,
    Text,
    Integer,
    Number,
    Boolean,
    /// The name of a field of the items.
    Field,
}

impl Expected {
    fn accepts(self, ty: &Type) -> bool {
        match self {
            _ if *ty == Type::Any => true,
            Self::Any => true,
            Self::Text | Self::Field => ty.is_text(),
            Self::Integer => matches!(ty, Type::Integer(_)),
            Self::Number => ty.is_numeric(),
            Self::Boolean => *ty == Type::Boolean,
        }
    }

    fn with_article(self) -> &'static str {
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

/// The signature of a filter or test.
pub(super) struct Parameters {
    minimum: usize,
    positional: &'static [Expected],
    named: &'static [(&'static str, Expected)],
    /// The arguments are checked elsewhere.
    free: bool,
}

impl Parameters {
    pub(super) const NONE: Self = Self::of(0, &[]);
    pub(super) const ANY: Self = Self { free: true, ..Self::of(0, &[]) };

    /// Positional arguments, of which the first `minimum` are required.
    pub(super) const fn of(minimum: usize, positional: &'static [Expected]) -> Self {
        Self { minimum, positional, named: &[], free: false }
    }

    /// Named arguments only.
    pub(super) const fn named(named: &'static [(&'static str, Expected)]) -> Self {
        Self::of(0, &[]).and(named)
    }

    /// Returns the signature with named arguments.
    pub(super) const fn and(self, named: &'static [(&'static str, Expected)]) -> Self {
        Self { named, ..self }
    }

    /// Checks arguments against the signature.
    pub(super) fn check(&self, args: &[FilterArgument]) -> Result<(), ArgumentMismatch> {
        if self.free {
            return Ok(());
        }
        let positional: Vec<(usize, &FilterArgument)> =
            args.iter().enumerate().filter(|(_, arg)| arg.name.is_none()).collect();
        if !(self.minimum..=self.positional.len()).contains(&positional.len()) {
            let mismatch = ArgumentMismatch::new(&self.count(), positional.len().to_string());
            // A named argument in place of the one that is missing.
            let named = args.iter().position(|arg| {
                arg.name.as_ref().is_some_and(|name| self.named.iter().all(|(n, _)| n != name))
            });
            return Err(match named.zip(named.and_then(|at| args.get(at)?.name.as_deref())) {
                Some((at, name)) if positional.len() < self.minimum => {
                    let found = format!("'{name}='");
                    ArgumentMismatch::new("an argument without a name", found).at_name(at)
                }
                _ => ArgumentMismatch { is_count: true, ..mismatch },
            });
        }
        for ((at, arg), wanted) in positional.iter().zip(self.positional) {
            check_one(arg, *wanted).map_err(|wrong| wrong.at(*at))?;
        }
        for (at, arg) in args.iter().enumerate() {
            let Some(name) = &arg.name else { continue };
            let known = self.named.iter().find(|(known, _)| known == name);
            match known {
                Some((_, wanted)) => check_one(arg, *wanted).map_err(|wrong| wrong.at(at))?,
                None => {
                    let mismatch = ArgumentMismatch::new(&self.names(), format!("'{name}='"));
                    return Err(mismatch.at_name(at));
                }
            }
        }
        Ok(())
    }

    /// Whether there are arguments without a name.
    pub(super) fn takes_positional(&self) -> bool {
        !self.positional.is_empty()
    }

    fn count(&self) -> String {
        match (self.minimum, self.positional.len()) {
            (_, 0) => "no argument".to_owned(),
            (1, 1) => "one argument".to_owned(),
            (minimum, maximum) if minimum == maximum => format!("{minimum} arguments"),
            (minimum, maximum) => format!("{minimum} to {maximum} arguments"),
        }
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.named.iter().map(|(name, _)| format!("{name}=")).collect();
        match names.as_slice() {
            [] if self.positional.is_empty() => "no argument".to_owned(),
            [] => "an argument without a name".to_owned(),
            names => names.join(" or "),
        }
    }
}

fn check_one(arg: &FilterArgument, wanted: Expected) -> Result<(), ArgumentMismatch> {
    if wanted.accepts(&arg.ty) {
        return Ok(());
    }
    Err(ArgumentMismatch::new(wanted.with_article(), arg.ty.with_article()))
}

/// Returns the argument of a list filter that names a field of the items.
pub(super) fn field_argument<'a>(
    filter: &str,
    args: &'a [FilterArgument],
) -> Option<&'a FilterArgument> {
    let named = args.iter().find(|arg| arg.name.as_deref() == Some("attribute"));
    let position = match filter {
        "join" => 1,
        "sum" => 0,
        _ => return named,
    };
    named.or_else(|| args.iter().filter(|arg| arg.name.is_none()).nth(position))
}
