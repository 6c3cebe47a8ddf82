//! The address on which a service listens, as it is written on the command line.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::CliError;
use crate::journal::{Failure, FailureKind};

/// `IP:PORT`, `NAME:PORT`, or `:PORT` for all addresses of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenAddress {
    text: String,
    /// The part before the port; empty for all addresses.
    host: String,
    port: u16,
}

/// The error for a text that is not an address to listen on.
#[derive(Debug, thiserror::Error)]
#[error("expected IP:PORT, NAME:PORT or :PORT, such as 127.0.0.1:8080, localhost:8080 or :8080")]
pub(super) struct InvalidListenAddress;

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidListenAddress)?;
        let port = port.parse().map_err(|_| InvalidListenAddress)?;
        let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        if !is_name && text.parse::<SocketAddr>().is_err() {
            return Err(InvalidListenAddress);
        }
        Ok(Self { text: text.to_owned(), host: host.to_owned(), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ListenAddress {
    /// Returns the part before the port, without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// Returns the addresses, in the order in which they are tried. There is at least one.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, CliError> {
        self.resolve_for("--listen").await
    }

    /// Returns the same for the address of another option.
    pub(super) async fn resolve_for(&self, option: &str) -> Result<Vec<SocketAddr>, CliError> {
        if let Ok(address) = self.text.parse() {
            return Ok(vec![address]);
        }
        if self.host.is_empty() {
            // The first takes IPv4 connections, too; the second is for machines without IPv6.
            let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
            return Ok(all.map(|ip| SocketAddr::new(ip, self.port)).into());
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let mut addresses: Vec<SocketAddr> =
            found.map_err(|error| self.unusable_by(&error, option))?.collect();
        // Clients without IPv6 are more common than clients without IPv4.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(self.unusable_by(&io::Error::other("the name has no address"), option));
        }
        Ok(addresses)
    }

    /// Returns the error for an address that cannot be listened on.
    pub(super) fn unusable(&self, error: &io::Error) -> CliError {
        self.unusable_by(error, "--listen")
    }

    /// Returns the same error, for the address of an option.
    pub(super) fn unusable_by(&self, error: &io::Error, option: &str) -> CliError {
        let message = format!("cannot listen on {self}: {error}");
        let failure = Failure::new(FailureKind::Unreachable, message);
        CliError::Failure(failure.with_hint(Some(format!("name another address with {option}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::ListenAddress;

    async fn resolved(text: &str) -> Vec<String> {
        let address: ListenAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        let addresses = address.resolve().await.unwrap_or_else(|error| panic!("{error}"));
        addresses.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn addresses_names_and_ports_alone_are_resolved() {
        assert_eq!(resolved("127.0.0.1:8080").await, ["127.0.0.1:8080"]);
        assert_eq!(resolved("[::1]:0").await, ["[::1]:0"]);
        assert_eq!(resolved(":8080").await, ["[::]:8080", "0.0.0.0:8080"]);
        assert!(resolved("localhost:8080").await.contains(&"127.0.0.1:8080".to_owned()));
    }

    #[test]
    fn other_texts_are_not_addresses() {
        for text in
            ["", "8080", "localhost", "localhost:", "localhost:99999", "::1:x", "a/b:1", "::1:80"]
        {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
