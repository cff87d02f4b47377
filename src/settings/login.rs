//! Rules for logging in: what has to be set before a login can be asked for.
//!
//! A login that nobody can pass locks everybody out, and one that everybody can pass is none: both are faults of the
//! configuration, found when it is made and not at the first attempt.

use super::{AuthMode, Fault, Secret, Settings, Source, told::Told};

/// Reads a hash of a password: what is kept in place of it.
pub(super) fn password_hash(text: &str) -> Result<Option<Secret>, String> {
    let text = text.trim();
    // Digests of the Go program are taken over with its data.
    let legacy = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text {
        "" => Ok(None),
        _ if legacy || (text.starts_with("$argon2id$") && text.split('$').count() == 6) => Ok(Some(Secret::new(text))),
        // What was given may be the password itself: it is not repeated.
        _ => Err("this is no hash of a password: use the form $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH".to_owned()),
    }
}

/// Reads `CLAIM=VALUE`.
pub(super) fn role(text: &str) -> Result<Option<(String, String)>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.rsplit_once('=') {
        Some((claim, value)) if !claim.trim().is_empty() && !value.trim().is_empty() => {
            Ok(Some((claim.trim().to_owned(), value.trim().to_owned())))
        }
        _ => Err(format!("`{text}` is not a role: use CLAIM=VALUE, such as groups=ops")),
    }
}

impl Settings {
    /// Whether somebody can log in: the mode is set, and with it all that it needs.
    pub fn login_is_possible(&self) -> bool {
        match self.auth_mode {
            AuthMode::None => false,
            AuthMode::Password => self.password_hash.is_some(),
            AuthMode::Oidc => self.oidc.missing().is_none(),
        }
    }

    /// Whether callers from elsewhere may manage at all, with a login or a key.
    pub fn remote_management_is_open(&self) -> bool {
        self.remote_management && self.login_is_possible()
    }
}

impl super::Oidc {
    /// The setting without which nobody could log in, or everybody could.
    pub fn missing(&self) -> Option<&'static str> {
        if self.issuer.is_empty() {
            return Some("oidc_issuer");
        }
        if self.client_id.is_empty() {
            return Some("oidc_client_id");
        }
        let nobody =
            self.allowed_emails.is_empty() && self.allowed_domains.is_empty() && self.allowed_subjects.is_empty();
        // Every account of a public provider could log in otherwise.
        (nobody && self.role.is_none())
            .then_some("oidc_allowed_emails, oidc_allowed_domains, oidc_allowed_subjects or oidc_role")
    }
}

/// What is wrong with the login as a whole, with the source of the setting that makes it so.
pub(super) fn faults(settings: &Settings, told: &Told) -> Vec<(Source, Fault)> {
    let mut faults = Vec::new();
    let mut fault = |name: &str, message: String| {
        faults.push((told.source(name), Fault { place: name.to_owned(), message }));
    };
    match settings.auth_mode {
        AuthMode::None if settings.require_login => {
            fault("require_login", "there is no way to log in: set auth_mode to password or oidc".to_owned());
        }
        AuthMode::None if settings.remote_management => {
            fault("remote_management", "it needs a login: set auth_mode to password or oidc".to_owned());
        }
        AuthMode::None => {}
        AuthMode::Password if settings.password_hash.is_none() => {
            let message = "there is no password yet: make one with `flow-router auth reset-password`";
            fault("auth_mode", message.to_owned());
        }
        AuthMode::Password => {}
        AuthMode::Oidc => {
            if let Some(name) = settings.oidc.missing() {
                fault("auth_mode", format!("oidc needs {name}"));
            } else if !is_safe_issuer(&settings.oidc.issuer) {
                fault("oidc_issuer", "the identity provider must be reached by https".to_owned());
            }
        }
    }
    faults
}

/// Whether an issuer is reached by https, or on this machine.
fn is_safe_issuer(issuer: &str) -> bool {
    let Ok(url) = url::Url::parse(issuer) else { return false };
    let here = url.host_str().is_some_and(proxy::is_loopback);
    url.scheme() == "https" || (url.scheme() == "http" && here)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::{Sources, load};

    fn faults(flags: &[(&'static str, &str)]) -> Vec<String> {
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        match load(&Sources { flags, ..Sources::default() }) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_login_that_nobody_can_pass_is_a_fault() {
        let one = |flags: &[(&'static str, &str)], part: &str| {
            let found = faults(flags);
            assert!(found.len() == 1 && found[0].contains(part), "{flags:?}: {found:?}");
        };
        one(&[("require_login", "true")], "auth_mode");
        one(&[("remote_management", "true")], "auth_mode");
        one(&[("auth_mode", "password")], "auth reset-password");
        one(&[("auth_mode", "oidc")], "oidc_issuer");
        let oidc = [("auth_mode", "oidc"), ("oidc_issuer", "https://id.example"), ("oidc_client_id", "flow")];
        one(&oidc[..2], "oidc_client_id");
        one(&oidc, "oidc_allowed_emails");
        let plain = [oidc[0], ("oidc_issuer", "http://id.example"), oidc[2], ("oidc_allowed_subjects", "u1")];
        one(&plain, "https");
        assert_eq!(faults(&[&oidc[..], &[("oidc_role", "groups=ops")]].concat()), [""; 0]);
        let local = [oidc[0], ("oidc_issuer", "http://127.0.0.1:9"), oidc[2], ("oidc_allowed_subjects", "u1")];
        assert_eq!(faults(&local), [""; 0]);
        assert_eq!(faults(&[("auth_mode", "password"), ("password_hash", HASH), ("require_login", "true")]), [""; 0]);
    }

    #[test]
    fn a_password_in_place_of_its_hash_is_refused_and_not_repeated() {
        for text in ["hunter2-hunter2", "$argon2i$v=19$m=1,t=1,p=1$AAAA$AAAA", "$argon2id$v=16"] {
            let found = faults(&[("password_hash", text)]);
            assert!(found.len() == 1 && !found[0].contains(text), "{found:?}");
        }
        assert!(password_hash(&"0a".repeat(32)).unwrap().is_some());
        assert!(password_hash(" ").unwrap().is_none());
    }

    #[test]
    fn roles_are_a_claim_and_a_value() {
        assert_eq!(role("https://x/y=z = a").unwrap(), Some(("https://x/y=z".to_owned(), "a".to_owned())));
        assert!(role("groups").is_err() && role("=a").is_err() && role("a=").is_err());
        assert_eq!(role("").unwrap(), None);
    }
}
