//! Classification of failures below HTTP, for both clients, because both use hyper and rustls.

use std::error::Error as StdError;
use std::io;

use super::bounded::TooLong;
use super::error::{Classified, ErrorKind, causes, error_chain, root_cause};

/// Classifies an error without a server's response.
pub(super) fn classify(error: &(dyn StdError + 'static)) -> Classified {
    classify_network_error(error).unwrap_or_else(|| classify_other(error, &error_chain(error)))
}

/// Classifies an error if it certainly is one of the network.
pub(super) fn classify_network_error(error: &(dyn StdError + 'static)) -> Option<Classified> {
    by_message(error, &error_chain(error)).or_else(|| by_io_kind(error))
}

/// Classifies failures that the layers below distinguish only by message.
fn by_message(error: &(dyn StdError + 'static), text: &str) -> Option<Classified> {
    if let Some(too_long) = TooLong::among_causes(error) {
        return Some(Classified::new(ErrorKind::Invalid, too_long.to_string()));
    }
    if text.contains("dns error") || text.contains("failed to lookup address") {
        let message = format!("cannot resolve the host name: {}", root_cause(error));
        return Some(
            Classified::new(ErrorKind::Unreachable, message)
                .hint("check the address and this machine's name resolution or VPN"),
        );
    }
    if let Some(message) = untrusted_certificate(text) {
        return Some(
            Classified::new(ErrorKind::Invalid, message)
                .hint("check the address and the certificate authority configured for it"),
        );
    }
    if text.contains("InvalidContentType") {
        return Some(
            Classified::new(ErrorKind::Invalid, "the server does not speak TLS")
                .hint("check the address: the server may expect plain http"),
        );
    }
    if text.contains("connect timeout") || text.contains("HTTP connect") {
        return Some(unreachable("timed out while connecting"));
    }
    None
}

/// Classifies failures that the operating system names.
fn by_io_kind(error: &(dyn StdError + 'static)) -> Option<Classified> {
    let kind = causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind)
        .last()?;
    match kind {
        io::ErrorKind::ConnectionRefused => Some(unreachable("connection refused")),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(unreachable(format!("no route to the host: {}", root_cause(error))))
        }
        io::ErrorKind::TimedOut => Some(Classified::new(ErrorKind::Transient, "timed out")),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Classified::new(
            ErrorKind::Transient,
            format!("connection lost: {}", root_cause(error)),
        )),
        _ => None,
    }
}

/// Classifies everything else as a lost connection.
fn classify_other(error: &(dyn StdError + 'static), text: &str) -> Classified {
    if text.contains("(Connect)") {
        return unreachable(root_cause(error));
    }
    if text.contains("timed out") || text.contains("timeout") {
        return Classified::new(ErrorKind::Transient, "timed out");
    }
    Classified::new(ErrorKind::Transient, text)
}

fn unreachable(message: impl Into<String>) -> Classified {
    Classified::new(ErrorKind::Unreachable, message)
        .hint("check the address, that the server runs, and that this machine can reach it")
}

/// Returns what is wrong with the certificate of a server, without the messages of the layers above rustls.
pub(super) fn untrusted_certificate(text: &str) -> Option<String> {
    let (_, problem) = text.rsplit_once("invalid peer certificate: ")?;
    Some(format!("the server's certificate is not trusted: {problem}"))
}
