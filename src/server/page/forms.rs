//! The body of a form.

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::fields::PREFIX;

/// A form as it was sent. A browser sends line breaks as two characters.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(body);
        Self(pairs.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n"))).collect())
    }

    /// Returns a field; none where it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Returns every value of a field.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    /// Returns the fields that are inputs or answers, by their names.
    pub(super) fn inputs(&self) -> BTreeMap<String, String> {
        let named = |(name, value): &(String, String)| {
            Some((name.strip_prefix(PREFIX)?.to_owned(), value.clone()))
        };
        self.0.iter().filter_map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_send_it() {
        let form = Form::read(b"in.node=a+b&in.list=a%0D%0Ab&accept=x&accept=y&note=+&key=k");
        assert_eq!(form.inputs()["node"], "a b");
        assert_eq!(form.inputs()["list"], "a\nb");
        assert_eq!(form.all("accept"), ["x", "y"]);
        assert_eq!((form.text("note"), form.text("key")), (None, Some("k")));
    }
}
