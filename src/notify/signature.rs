//! Signatures by the specification of Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>): HMAC-SHA256 over
//! `ID.TIMESTAMP.BODY`, so that a receiver knows the sender, and refuses what is old. Pure.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// How a key begins.
const PREFIX: &str = "whsec_";
/// The lengths of keys that the specification recommends, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A key. It is never shown.
pub(super) struct SigningKey(Vec<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The reason why a text is not a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The text does not begin like a key.
    #[error("the secret does not begin with {PREFIX}")]
    Prefix,
    /// The rest is not base64.
    #[error("the secret is not valid base64 after {PREFIX}")]
    Base64,
    /// The key is too short to be a secret, or too long.
    #[error("the secret has {0} bytes, and must have 24 to 64")]
    Length(usize),
}

impl SigningKey {
    /// Returns the key of a text: `whsec_` and its bytes in base64.
    pub(super) fn parse(text: &[u8]) -> Result<Self, SigningKeyError> {
        let text = std::str::from_utf8(text).map_err(|_| SigningKeyError::Prefix)?;
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SigningKeyError::Prefix)?;
        let key = BASE64_STANDARD.decode(encoded).map_err(|_| SigningKeyError::Base64)?;
        match LENGTHS.contains(&key.len()) {
            true => Ok(Self(key)),
            false => Err(SigningKeyError::Length(key.len())),
        }
    }

    /// Returns the value of the header `webhook-signature` for a message.
    pub(super) fn sign(&self, id: &str, time: Timestamp, body: &str) -> String {
        // HMAC takes keys of every length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes every key");
        for part in [id, ".", &time.as_second().to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn a_message_is_signed_as_the_reference_implementations_do() {
        let key = SigningKey::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let time = Timestamp::from_second(1_614_265_330).unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_text_that_is_not_a_key_is_refused() {
        let refused = |text: &str| SigningKey::parse(text.as_bytes()).unwrap_err();
        assert_eq!(refused("a password of a person"), SigningKeyError::Prefix);
        assert_eq!(refused("whsec_???"), SigningKeyError::Base64);
        assert_eq!(refused("whsec_c2hvcnQ="), SigningKeyError::Length(5));
    }
}
