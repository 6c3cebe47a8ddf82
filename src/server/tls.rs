//! TLS for the service, from files that may change while it runs: certificates are renewed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    },
};

use super::file_stamp::{FileStamp, SecretFileError, read_public, read_secret};

/// The certificate and the key of the service. They are read again when one of the files has changed.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// The files, as they were when they were read last, whatever became of it.
    stamps: [Option<FileStamp>; 2],
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
        let stamps = stamps(certificate, key);
        let current = Mutex::new(Current { acceptor: acceptor(certificate, key)?, stamps });
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Returns what accepts a connection with the files as they are now. Files that cannot be used are reported, and
    /// replace nothing: the two are not always replaced at the same moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        // Each change below is one assignment: a panic leaves nothing half done.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.certificate, &self.key);
        if current.stamps != stamps {
            current.stamps = stamps;
            match acceptor(&self.certificate, &self.key) {
                Ok(acceptor) => {
                    tracing::info!("the certificate has changed");
                    current.acceptor = acceptor;
                }
                Err(error) => tracing::error!(%error, "the changed certificate is not used"),
            }
        }
        current.acceptor.clone()
    }
}

fn stamps(certificate: &Path, key: &Path) -> [Option<FileStamp>; 2] {
    [certificate, key].map(|path| FileStamp::at(path).ok())
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let not_pem =
        |path: &Path, expected| TlsError::NotPem { path: path.display().to_string(), expected };
    let (text, _) = read_public(certificate)?;
    let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
        CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| not_pem(certificate, "certificate"))?;
    let (text, _) = read_secret(key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| not_pem(key, "private key"))?;
    // The provider is named outright, as for the clients: none is installed for the process.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
