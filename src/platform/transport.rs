//! What a failure below HTTP means: the same for both clients, since both speak through hyper and rustls.
//! Knows errors only; it makes no connection itself.

use std::error::Error as StdError;
use std::io::ErrorKind;

use super::error::{Class, Verdict, causes, root, story};

/// A verdict on an error that no server's answer stands behind.
pub(super) fn judge(error: &(dyn StdError + 'static)) -> Verdict {
    recognise(error).unwrap_or_else(|| by_default(error, &story(error)))
}

/// A verdict on an error that is surely one of the network.
pub(super) fn recognise(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    by_words(error, &story(error)).or_else(|| by_kind(error))
}

/// Failures that the layers below tell apart in their words only.
fn by_words(error: &(dyn StdError + 'static), words: &str) -> Option<Verdict> {
    if words.contains("dns error") || words.contains("failed to lookup address") {
        let answer = format!("the host's name cannot be resolved: {}", root(error));
        return Some(
            Verdict::new(Class::Unreachable, answer)
                .advice("check the address and this machine's name resolution or VPN"),
        );
    }
    if words.contains("invalid peer certificate") {
        let answer = format!("the server's certificate is not trusted: {}", certificate(words));
        return Some(
            Verdict::new(Class::Invalid, answer)
                .advice("check the address and the certificate authority configured for it"),
        );
    }
    if words.contains("InvalidContentType") {
        return Some(
            Verdict::new(Class::Invalid, "the server does not speak TLS")
                .advice("it may be plain http: check the address"),
        );
    }
    if words.contains("connect timeout") || words.contains("HTTP connect") {
        return Some(nobody("no connection in time"));
    }
    None
}

/// Failures that the operating system names.
fn by_kind(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    let kind = causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
        .last()?;
    match kind {
        ErrorKind::ConnectionRefused => Some(nobody("connection refused: nothing listens there")),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Some(nobody(format!("no route: {}", root(error))))
        }
        ErrorKind::TimedOut => Some(Verdict::new(Class::Transient, "no answer in time")),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => {
            Some(Verdict::new(Class::Transient, format!("the connection broke: {}", root(error))))
        }
        _ => None,
    }
}

/// Everything else that is no answer is a connection that broke one way or another.
fn by_default(error: &(dyn StdError + 'static), words: &str) -> Verdict {
    if words.contains("(Connect)") {
        return nobody(root(error));
    }
    if words.contains("timed out") || words.contains("timeout") {
        return Verdict::new(Class::Transient, "no answer in time");
    }
    Verdict::new(Class::Transient, words)
}

fn nobody(answer: impl Into<String>) -> Verdict {
    Verdict::new(Class::Unreachable, answer).advice(
        "check that the address is right, that the server runs and that this machine can reach it",
    )
}

/// What rustls says of the certificate, without the layers' own words.
fn certificate(words: &str) -> &str {
    words.rsplit("invalid peer certificate: ").next().unwrap_or(words)
}
