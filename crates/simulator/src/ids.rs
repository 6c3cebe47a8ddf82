//! Ids and names that look random but are derived from the scenario's seed and a label, so that two
//! runs of one scenario can be compared.

use sha2::{Digest, Sha256};

/// The characters that Kubernetes uses in generated names.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A source of ids.
#[derive(Debug, Clone)]
pub(crate) struct IdGenerator {
    seed: u64,
    issued: u64,
}

impl IdGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, issued: 0 }
    }

    /// Returns a new UUID for an object called `label`.
    pub(crate) fn uuid(&mut self, label: &str) -> String {
        format_uuid(&self.hex(label, 32))
    }

    /// Returns `digits` new hexadecimal digits, at most 64.
    pub(crate) fn hex(&mut self, label: &str, digits: usize) -> String {
        let mut text = to_hex(&self.digest(label));
        text.truncate(digits);
        text
    }

    /// Returns a new suffix for a generated name.
    pub(crate) fn suffix(&mut self, label: &str) -> String {
        encode(&self.digest(label), 5)
    }

    fn digest(&mut self, label: &str) -> Vec<u8> {
        self.issued += 1;
        digest(&format!("{}/{}/{label}", self.seed, self.issued))
    }
}

/// Returns a seed whose ids differ from those of `seed` if there are texts, and that depends on them alone.
pub(crate) fn mixed_seed<'a>(seed: u64, texts: impl Iterator<Item = &'a str>) -> u64 {
    let mut texts = texts.peekable();
    if texts.peek().is_none() {
        return seed;
    }
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text.as_bytes());
        digest.update([0]);
    }
    let digest = digest.finalize();
    digest.iter().take(8).fold(seed, |mixed, byte| mixed.rotate_left(8) ^ u64::from(*byte))
}

/// Returns the hexadecimal digits of `bytes`.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}

/// Returns ten characters that depend on `text` alone, for names that must be found again.
pub(crate) fn name_hash(text: &str) -> String {
    encode(&digest(text), 10)
}

/// Returns the UUID that depends on `text` alone.
pub(crate) fn name_uuid(text: &str) -> String {
    format_uuid(&to_hex(&digest(text))[..32])
}

/// Formats 32 hexadecimal digits as a random UUID, which has fixed digits for its version and
/// variant.
fn format_uuid(hex: &str) -> String {
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

fn encode(bytes: &[u8], count: usize) -> String {
    bytes
        .iter()
        .take(count)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_equal_for_equal_seeds_and_unique_within_one() {
        let (mut one, mut same) = (IdGenerator::new(7), IdGenerator::new(7));
        let first = one.uuid("pod");
        assert_eq!(first, same.uuid("pod"));
        assert_ne!(first, one.uuid("pod"));
        assert!(uuid::Uuid::parse_str(&first).is_ok(), "{first}");
        let named = name_uuid("group");
        assert_eq!(named, name_uuid("group"));
        assert!(uuid::Uuid::parse_str(&named).is_ok(), "{named}");
    }
}
