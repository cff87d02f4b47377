//! The two-tier authority: made in memory, and read with every check that can be made. Files are `folder`'s.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{Issuer, KeyPair};
use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::extensions::GeneralName;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Error, Host, LeafKey, MintError, Names, Profile, Root, leaf, profile,
    root::{parse, to_pem, validity},
};

/// How long before its end an authority should be rotated.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An authority that can sign leaves: the issuing key, and the certificates above it.
pub struct Authority {
    root: Root,
    issuing: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    names: Names,
    begin: SystemTime,
    end: SystemTime,
}

/// The files of an authority. Keys are wiped from memory when this is dropped.
pub(crate) struct Made {
    pub(crate) root: String,
    pub(crate) issuing: String,
    pub(crate) issuing_key: Zeroizing<String>,
    /// Only if the authority is not sealed.
    pub(crate) root_key: Option<Zeroizing<String>>,
}

impl Made {
    /// Makes a root and its issuing authority: seconds of CPU, for the root's key is RSA 4096.
    pub(crate) fn new(profile: &Profile, now: SystemTime) -> Result<Self, Error> {
        profile.check()?;
        let mut root_key = profile::root_key()?;
        let params = profile::root(profile, &root_key, now)?;
        let root = params.self_signed(&root_key)?;
        let end = now + Duration::from_secs(u64::from(profile.days) * 24 * 60 * 60);
        let root_key_text = (!profile.sealed).then(|| Zeroizing::new(root_key.serialize_pem()));
        root_key.serialized_wipe();
        let issuer = Issuer::new(params, root_key);
        let (issuing, issuing_key) = sign_issuing(&profile.names, &issuer, now, end)?;
        // The root's key ends here: the library below wipes what it frees.
        drop(issuer);
        Ok(Self { root: to_pem(root.der()), issuing, issuing_key, root_key: root_key_text })
    }

    /// Signs a new issuing authority under a root whose key was kept.
    pub(crate) fn renew(
        root: &Root,
        (key_path, key_text): (&Path, &[u8]),
        names: &Names,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let damaged = |what: &str| Error::damaged(key_path, what);
        let key = private_key(key_text).map_err(|what| damaged(&what))?;
        let parsed = parse(root.der()).map_err(|what| damaged(&what))?;
        if key.public_key_raw() != parsed.public_key().subject_public_key.data.as_ref() {
            return Err(Error::KeyMismatch { path: key_path.to_owned() });
        }
        let issuer = Issuer::from_ca_cert_der(root.der(), key)?;
        let (issuing, issuing_key) = sign_issuing(names, &issuer, now, root.not_after())?;
        let text = std::str::from_utf8(key_text).map_err(|_| damaged("no PEM text"))?;
        Ok(Self { root: root.pem(), issuing, issuing_key, root_key: Some(Zeroizing::new(text.to_owned())) })
    }
}

fn sign_issuing(
    names: &Names,
    root: &Issuer<'_, KeyPair>,
    now: SystemTime,
    end: SystemTime,
) -> Result<(String, Zeroizing<String>), Error> {
    let mut key = profile::p256_key()?;
    let certificate = profile::issuing(names, &key, now, end)?.signed_by(&key, root)?;
    let text = Zeroizing::new(key.serialize_pem());
    key.serialized_wipe();
    Ok((to_pem(certificate.der()), text))
}

/// The key pair keeps a second copy of the key for exporting it; ours are not exported.
trait SerializedWipe {
    fn serialized_wipe(&mut self);
}

impl SerializedWipe for KeyPair {
    fn serialized_wipe(&mut self) {
        // `Zeroize` of this type wipes exactly that copy and leaves the key usable.
        self.zeroize();
    }
}

/// The texts that an authority is read from, and where they came from (for errors).
pub(crate) struct Texts<'a> {
    pub(crate) root: (&'a Path, &'a [u8]),
    pub(crate) issuing: (&'a Path, &'a [u8]),
    pub(crate) issuing_key: (&'a Path, &'a [u8]),
}

impl Authority {
    /// Reads an authority and proves that it works: the key fits, both certificates are valid now and confined, and a leaf
    /// of ours is accepted by a verifier that trusts nothing but the root.
    pub(crate) fn read(texts: &Texts<'_>, now: SystemTime) -> Result<Self, Error> {
        let (root_path, root_text) = texts.root;
        let (issuing_path, issuing_text) = texts.issuing;
        let (key_path, key_text) = texts.issuing_key;

        let root = Root::from_pem(root_text).map_err(|what| Error::damaged(root_path, what))?;
        let issuing = CertificateDer::from_pem_slice(issuing_text)
            .map_err(|error| Error::damaged(issuing_path, error.to_string()))?;
        let root_names = confined(root_path, root.der())?;
        let names = confined(issuing_path, &issuing)?;
        if !names.list().iter().all(|name| root_names.cover(name)) {
            return Err(Error::damaged(issuing_path, "it claims names that the root does not allow"));
        }

        let parsed = parse(&issuing).map_err(|what| Error::damaged(issuing_path, what))?;
        let (begin, end) = validity(&parsed);
        for (path, begin, end) in [(root_path, root.not_before(), root.not_after()), (issuing_path, begin, end)] {
            if now >= end {
                return Err(Error::Expired { path: path.to_owned(), end });
            }
            if now < begin {
                return Err(Error::NotYetValid { path: path.to_owned(), begin });
            }
        }

        let key = private_key(key_text).map_err(|what| Error::damaged(key_path, what))?;
        if key.public_key_raw() != parsed.public_key().subject_public_key.data.as_ref() {
            return Err(Error::KeyMismatch { path: key_path.to_owned() });
        }
        let issuer =
            Issuer::from_ca_cert_der(&issuing, key).map_err(|error| Error::damaged(issuing_path, error.to_string()))?;
        let authority = Self { root, issuing, issuer, names, begin, end };
        authority.prove(issuing_path, now)?;
        Ok(authority)
    }

    /// Signs a leaf and has it verified against our root alone, as a client would.
    fn prove(&self, issuing_path: &Path, now: SystemTime) -> Result<(), Error> {
        let wrong = |what: String| Error::damaged(issuing_path, what);
        let Some(name) = self.names.list().first() else {
            return Err(Error::Unconstrained { path: issuing_path.to_owned() });
        };
        let leaf = self.mint(name, &LeafKey::p256().map_err(|error| Error::Crypto(error.to_string()))?, now);
        let leaf = leaf.map_err(|error| Error::Crypto(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).map_err(|error| wrong(format!("the root cannot be an anchor: {error}")))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::Crypto(error.to_string()))?;
        let server = ServerName::try_from(name.as_str().to_owned()).map_err(|_| wrong(format!("odd name {name}")))?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        let verified =
            verifier.verify_server_cert(&leaf.certificate, std::slice::from_ref(&self.issuing), &server, &[], now);
        match verified {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Err(wrong("it is not signed by the root beside it".to_owned())),
            Err(error) => Err(wrong(format!("a client would refuse it: {error}"))),
        }
    }

    /// Signs a leaf for `host`. Names outside of the constraint are refused before anything is signed.
    pub(crate) fn mint(&self, host: &Host, key: &LeafKey, now: SystemTime) -> Result<leaf::Leaf, MintError> {
        if !self.names.cover(host) {
            return Err(MintError::OutsideConstraint(host.to_string()));
        }
        // A leaf that ends within the hour would be refused by clients whose clocks are ahead.
        if now < self.begin || now + Duration::from_secs(60 * 60) >= self.end {
            return Err(MintError::AuthorityExpired);
        }
        leaf::sign(host, key, &self.issuer, self.begin..self.end, now)
    }

    /// The root's certificate.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The issuing authority's certificate: what servers send after the leaf.
    pub fn issuing(&self) -> &CertificateDer<'static> {
        &self.issuing
    }

    /// The names that it can sign for.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Until when it can sign: the issuing authority's end, which is not after the root's.
    pub fn not_after(&self) -> SystemTime {
        self.end
    }

    /// Whether its end is near: nearer than [`EXPIRY_WARNING`].
    pub fn ends_soon(&self, now: SystemTime) -> bool {
        now + EXPIRY_WARNING >= self.end
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("root", &self.root).field("names", &self.names).finish_non_exhaustive()
    }
}

/// Reads a private key. Its text stays with the caller; no second copy is left.
pub(crate) fn private_key(text: &[u8]) -> Result<KeyPair, String> {
    let mut der = PrivateKeyDer::from_pem_slice(text).map_err(|error| error.to_string())?;
    let key = KeyPair::try_from(&der).map_err(|_| "no private key".to_owned());
    der.zeroize();
    let mut key = key?;
    key.serialized_wipe();
    Ok(key)
}

/// The permitted names of a CA certificate; an error if it is none, or is not confined.
pub(crate) fn confined(path: &Path, der: &[u8]) -> Result<Names, Error> {
    let damaged = |what: String| Error::damaged(path, what);
    let certificate = parse(der).map_err(damaged)?;
    if !certificate.is_ca() {
        return Err(Error::damaged(path, "no certificate of an authority"));
    }
    let unconstrained = || Error::Unconstrained { path: path.to_owned() };
    let extension = certificate.name_constraints().map_err(|_| unconstrained())?.ok_or_else(unconstrained)?;
    if !extension.critical {
        return Err(unconstrained());
    }
    let mut hosts = Vec::new();
    for subtree in extension.value.permitted_subtrees.iter().flatten() {
        if let GeneralName::DNSName(name) = &subtree.base {
            hosts.push(Host::parse(name).map_err(|error| damaged(format!("constraint {name:?}: {error}")))?);
        }
    }
    if hosts.is_empty() { Err(unconstrained()) } else { Ok(Names::new(hosts)) }
}
