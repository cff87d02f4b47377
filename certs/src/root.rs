//! The root's certificate: what is shown, downloaded, and looked for in trust stores.

use std::{fmt, time::SystemTime};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// A root certificate. It holds no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Root {
    der: CertificateDer<'static>,
    subject: String,
    begin: SystemTime,
    end: SystemTime,
}

impl Root {
    /// Reads the first certificate of a PEM text. `Err` says what is wrong with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        Self::from_der(CertificateDer::from_pem_slice(pem).map_err(|error| error.to_string())?)
    }

    /// Reads a certificate. `Err` says what is wrong with it.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, String> {
        let parsed = parse(&der)?;
        let subject = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let subject = subject.unwrap_or_default().to_owned();
        let (begin, end) = validity(&parsed);
        Ok(Self { subject, begin, end, der })
    }

    /// Its bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// As PEM, lines ending in LF.
    pub fn pem(&self) -> String {
        to_pem(&self.der)
    }

    /// The subject's common name, as trust stores show it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// SHA-256 fingerprint, 64 lower-case hex digits.
    pub fn sha256(&self) -> String {
        hex(digest::digest(&SHA256, &self.der).as_ref())
    }

    /// SHA-1 fingerprint, 40 lower-case hex digits: the handle of macOS' and Windows' stores, nothing rests on it.
    pub fn sha1(&self) -> String {
        hex(digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    /// The name under which stores that need one keep it: `flow-router-` and the fingerprint's first eight digits, so
    /// that two roots during a rotation do not meet.
    pub fn alias(&self) -> String {
        format!("flow-router-{}", &self.sha256()[..8])
    }

    /// From when it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.begin
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.end
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("subject", &self.subject).field("sha256", &self.sha256()).finish_non_exhaustive()
    }
}

/// Parses a certificate that fills `der` exactly.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("bytes behind the certificate".to_owned()),
        Err(_) => Err("no certificate".to_owned()),
    }
}

/// Begin and end. Dates before 1970 count as 1970.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds.max(0).unsigned_abs());
    let validity = certificate.validity();
    (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()))
}

/// A certificate as PEM, lines of 64 characters that end in LF on every system.
pub(crate) fn to_pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
