//! The certificate authority of a simulated cluster: what `DescribeCluster` returns and what the kubeconfig holds. The
//! simulator serves plain HTTP, so nothing is signed with it. It identifies the cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::ids::to_hex;

/// A self-signed certificate, in base64. Clients do not check the signature of an authority that they are told to
/// trust, so that its name can be replaced.
const TEMPLATE: &str = concat!(
    "MIIBwTCCAWegAwIBAgIUHJXtg9GB04aqzmyXXIqotC3a0UkwCgYIKoZIzj0EAwIw",
    "NTEzMDEGA1UEAwwqc2ltdWxhdG9yLXh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4",
    "eHh4eHh4MCAXDTI2MTEyNjAyNTM1OVoYDzIxMjYxMTAyMDI1MzU5WjA1MTMwMQYD",
    "VQQDDCpzaW11bGF0b3IteHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHgw",
    "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARyjU5Awn7t49XDkAh5SFlmJGFr4l6A",
    "yZ1/IL5ARIKYx6lv0lFIvtVoeUWuBtNK8gX/QxlK88dRcO5xuSyfpAh5o1MwUTAd",
    "BgNVHQ4EFgQU8spJKma3M++bgG7hCr+hIu9rhvwwHwYDVR0jBBgwFoAU8spJKma3",
    "M++bgG7hCr+hIu9rhvwwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBF",
    "AiBPF8CbDkL55klJBDD+t3WCZ8qlp17PPD84Z0/7r6UEnwIhAJJ6NppHK/C2b1II",
    "npoRwY7uzvqsoatwCFvBARmG7O8v",
);
/// The part of the names of issuer and subject that is replaced.
const PLACEHOLDER: &[u8] = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Returns the certificate of the cluster with that UID, in PEM.
pub(crate) fn of_cluster(uid: &str) -> String {
    // The template is valid, as the test below shows.
    let mut certificate = STANDARD.decode(TEMPLATE).unwrap_or_default();
    let name = to_hex(&Sha256::digest(uid.as_bytes()));
    let length = PLACEHOLDER.len();
    let places: Vec<usize> = (0..certificate.len().saturating_sub(length))
        .filter(|at| certificate[*at..].starts_with(PLACEHOLDER))
        .collect();
    for at in places {
        certificate[at..at + length].copy_from_slice(&name.as_bytes()[..length]);
    }
    to_pem(&[certificate])
}

/// Returns certificates in PEM.
pub(crate) fn to_pem(certificates: &[Vec<u8>]) -> String {
    let each = |certificate: &Vec<u8>| {
        let text = STANDARD.encode(certificate);
        let lines: Vec<&str> =
            (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    certificates.iter().map(each).collect()
}

/// Returns PEM text as EKS and kubeconfigs hold it.
pub(crate) fn to_data(pem: &str) -> String {
    STANDARD.encode(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_has_another_certificate_of_the_same_form() {
        let (one, same, other) = (of_cluster("1"), of_cluster("1"), of_cluster("2"));
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert_eq!(one.len(), other.len());
        assert!(one.starts_with("-----BEGIN CERTIFICATE-----\nMIIB"), "{one}");
    }
}
