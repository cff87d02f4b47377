//! What stands in each certificate. Nothing here is read from anywhere or written: parameters in, certificates out.
//!
//! | | root | issuing authority | leaf |
//! |---|---|---|---|
//! | key | RSA 4096 | ECDSA P-256 | ECDSA P-256 (RSA 2048 on request) |
//! | basicConstraints, critical | CA, path 1 | CA, path 0 | not a CA |
//! | keyUsage, critical | keyCertSign, cRLSign | the same | digitalSignature (RSA: + keyEncipherment) |
//! | extKeyUsage | - | serverAuth | serverAuth |
//! | nameConstraints, critical | the names; no address at all | the same | - |
//! | validity | a day back, `days` on | to the root's end | a day back, 90 days on |
//! | SAN | - | - | the name, alone |
//!
//! Serial numbers are random: one that follows from the key would repeat when a key does, and Firefox refuses two
//! certificates of one issuer with the same number.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    RsaKeySize, SanType, SerialNumber,
};

use crate::{Error, Host, Names};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of clients may be behind ours.
pub(crate) const BACKDATE: Duration = DAY;
/// Life of a leaf from now on. Apple refuses leaves of user-added roots above 825 days and public ones step down to 47;
/// ours are made anew without cost.
pub(crate) const LEAF_LIFE: Duration = DAY.saturating_mul(90);
/// Longest life of an authority, days: ten years, and far below the year 2050 where dates change their form.
pub const DAYS_MAX: u32 = 3_650;

/// What a new authority should be.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The names that it will be able to sign for. At least one.
    pub names: Names,
    /// Whether the root's key is thrown away after it signed the issuing authority. If not, the issuing authority can be
    /// renewed later under the same root, and whoever reads the key can make others, within the same names.
    pub sealed: bool,
    /// Life, days; at most [`DAYS_MAX`].
    pub days: u32,
}

impl Profile {
    /// A sealed authority for `names` of five years.
    pub fn new(names: Names) -> Self {
        Self { names, sealed: true, days: 1_825 }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.names.list().is_empty() {
            return Err(Error::Profile("an authority without names could sign for nothing"));
        }
        if self.days == 0 || self.days > DAYS_MAX {
            return Err(Error::Profile("an authority lives for 1 to 3650 days"));
        }
        Ok(())
    }
}

/// An RSA-4096 key: 0.7 to 2.3 s of CPU.
pub(crate) fn root_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)
}

/// A P-256 key: 60 µs.
pub(crate) fn p256_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// An RSA-2048 key, for clients that know no other: 160 ms of CPU.
pub(crate) fn rsa2048_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
}

pub(crate) fn root(profile: &Profile, key: &KeyPair, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = authority(&profile.names, 1)?;
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + DAY * profile.days).into();
    let id = short_id(&params, key);
    params.distinguished_name.push(DnType::CommonName, format!("Flow Router local CA {id}"));
    params.distinguished_name.push(DnType::OrganizationName, "Flow Router (this computer only)");
    Ok(params)
}

pub(crate) fn issuing(
    names: &Names,
    key: &KeyPair,
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = authority(names, 0)?;
    params.not_before = (now - BACKDATE).into();
    params.not_after = end.into();
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let id = short_id(&params, key);
    params.distinguished_name.push(DnType::CommonName, format!("Flow Router issuing CA {id}"));
    Ok(params)
}

fn authority(names: &Names, path: u8) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.list().iter().map(|host| GeneralSubtree::DnsName(host.as_str().to_owned())).collect(),
        // A list of permitted names says nothing about addresses: these are excluded, all of them.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    Ok(params)
}

pub(crate) fn leaf(
    host: &Host,
    begin: SystemTime,
    end: SystemTime,
    rsa: bool,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // X.520 ends common names at 64 characters. The subject must not be empty, else the SAN would have to be critical.
    let name = if host.as_str().len() <= 64 { host.as_str() } else { "Flow Router" };
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(host.as_str().try_into()?)];
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if rsa {
        // TLS 1.2 with RSA key transport: rustls has none, but clients check the bit by the kind of key.
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = begin.into();
    params.not_after = end.into();
    Ok(params)
}

/// Sixteen random bytes that are a positive number of full length.
fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    // RFC 5280 §4.1.2.2: positive. A first byte of 0 would be dropped by the encoding.
    bytes[0] = (bytes[0] & 0x7f).max(1);
    Ok(SerialNumber::from_slice(&bytes))
}

fn short_id(params: &CertificateParams, key: &KeyPair) -> String {
    params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
