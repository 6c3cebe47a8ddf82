//! TLS for the service, from files that may change while it runs: certificates are renewed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    },
};

use crate::secret_file::{SecretFileError, read_public, read_secret};

/// The certificate and the key of the service. They are read for each connection, which costs little beside the
/// handshake, and used when they have changed.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// The digest of the files that the acceptor uses.
    used: Digest,
    /// Why the files as they are now cannot be used, if so.
    refused: Option<Refused>,
}

/// Why files cannot be used.
struct Refused {
    /// The digest of what was read, which is not tried again; none where a file could not be read.
    digest: Option<Digest>,
    error: TlsError,
}

type Digest = [u8; 32];

/// The two files as they were read.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Why TLS cannot be offered. The message never has a part of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or too many can read the key.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A file is not in PEM, or has nothing of what is looked for.
    #[error("{path} has no {expected} in PEM")]
    NotPem {
        /// The file.
        path: String,
        /// The kind of its content.
        expected: &'static str,
    },
    /// The two do not fit each other, or are of a kind that is not supported.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl TlsError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::NotPem { .. } | Self::Unusable(_) => None,
        }
    }
}

impl Tls {
    /// Reads a chain of certificates, the service's own first, and its key.
    ///
    /// # Errors
    /// A file cannot be used, or the two do not fit each other.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files::read(certificate, key)?;
        let acceptor = files.acceptor(certificate, key)?;
        let current = Current { acceptor, used: files.digest(), refused: None };
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: Mutex::new(current),
        })
    }

    /// Returns what accepts a connection with the files as they are now. Files that cannot be used are reported once,
    /// and replace nothing: the two are not always replaced at the same moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        // Each change below is one assignment: a panic leaves nothing half done.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match self.changed(&current) {
            Ok(None) => {}
            Ok(Some(changed)) => *current = changed,
            Err(refused) => {
                let last = current.refused.as_ref().map(|last| last.error.to_string());
                if last != Some(refused.error.to_string()) {
                    tracing::error!(error = %refused.error, "the changed certificate is not used");
                }
                current.refused = Some(refused);
            }
        }
        current.acceptor.clone()
    }

    /// Returns what replaces the current state; nothing where the files are as they were when they were last read.
    fn changed(&self, current: &Current) -> Result<Option<Current>, Refused> {
        // A file that cannot be read now may be readable for the next connection, without a change of the file.
        let files = Files::read(&self.certificate, &self.key)
            .map_err(|error| Refused { digest: None, error })?;
        let digest = files.digest();
        if digest == current.used {
            let acceptor = current.acceptor.clone();
            let is_again = current.refused.is_some();
            return Ok(is_again.then_some(Current { acceptor, used: digest, refused: None }));
        }
        if current.refused.as_ref().is_some_and(|refused| refused.digest == Some(digest)) {
            return Ok(None);
        }
        let acceptor = files
            .acceptor(&self.certificate, &self.key)
            .map_err(|error| Refused { digest: Some(digest), error })?;
        tracing::info!("the certificate has changed");
        Ok(Some(Current { acceptor, used: digest, refused: None }))
    }
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: read_public(certificate)?, key: read_secret(key)? })
    }

    fn digest(&self) -> Digest {
        let each = [&self.certificate, &self.key].map(Sha256::digest);
        Sha256::digest(each.concat()).into()
    }

    fn acceptor(&self, certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
        let not_pem =
            |path: &Path, expected| TlsError::NotPem { path: path.display().to_string(), expected };
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
            CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| not_pem(certificate, "certificate"))?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| not_pem(key, "private key"))?;
        // The provider is named outright, as for the clients: none is installed for the process.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const CERTIFICATES: [&str; 2] = [
        include_str!("../../tests/fixtures/tls/cert.pem"),
        include_str!("../../tests/fixtures/tls/renewed-cert.pem"),
    ];
    const KEYS: [&str; 2] = [
        include_str!("../../tests/fixtures/tls/key.pem"),
        include_str!("../../tests/fixtures/tls/renewed-key.pem"),
    ];

    struct Fixture {
        tls: Tls,
        certificate: PathBuf,
        key: PathBuf,
        _dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
            write(&certificate, CERTIFICATES[0]);
            write(&key, KEYS[0]);
            Self { tls: Tls::open(&certificate, &key).unwrap(), certificate, key, _dir: dir }
        }

        /// Whether a connection is accepted with another certificate than before.
        fn is_renewed(&self) -> bool {
            let before = Arc::clone(self.tls.current().acceptor.config());
            !Arc::ptr_eq(&before, self.tls.acceptor().config())
        }

        fn failure(&self) -> Option<String> {
            self.tls.current().refused.as_ref().map(|refused| refused.error.to_string())
        }
    }

    impl Tls {
        fn current(&self) -> std::sync::MutexGuard<'_, Current> {
            self.current.lock().unwrap()
        }
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn half_of_a_renewal_is_not_used_and_the_whole_is() {
        let fixture = Fixture::new();
        assert!(!fixture.is_renewed());
        write(&fixture.certificate, CERTIFICATES[1]);
        assert!(!fixture.is_renewed());
        assert!(fixture.failure().unwrap().contains("cannot be used"));
        write(&fixture.key, KEYS[1]);
        assert!(fixture.is_renewed());
        assert_eq!(fixture.failure(), None);
    }

    #[test]
    fn files_that_cannot_be_read_for_a_moment_are_read_again() {
        let fixture = Fixture::new();
        let aside = fixture.key.with_extension("aside");
        fs::rename(&fixture.key, &aside).unwrap();
        assert!(!fixture.is_renewed());
        assert!(fixture.failure().unwrap().contains("cannot read"));
        fs::rename(&aside, &fixture.key).unwrap();
        assert!(!fixture.is_renewed(), "the files are those that are used");
        assert_eq!(fixture.failure(), None, "the same failure is reported when it comes again");
    }

    /// The files are written to in place, many times within a tick of the file system's clock.
    #[test]
    fn a_renewal_within_a_tick_is_noticed() {
        let fixture = Fixture::new();
        for (certificate, key) in CERTIFICATES.iter().zip(KEYS).rev().collect::<Vec<_>>().repeat(50)
        {
            write(&fixture.certificate, &" ".repeat(certificate.len()));
            write(&fixture.key, key);
            assert!(!fixture.is_renewed());
            write(&fixture.certificate, certificate);
            assert!(fixture.is_renewed());
        }
    }
}
