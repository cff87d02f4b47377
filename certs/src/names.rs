//! Host names as certificates take them, and the set of them that an authority is confined to.

use std::fmt;

use crate::NameError;

/// A host name: lower case, ASCII, without a dot at its end, no address and no wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

impl Host {
    /// Reads a name in either case (RFC 1123 §2.1; underscores are taken too, they occur in the wild).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > 253 {
            return Err(NameError::Length);
        }
        if text.contains(':') {
            return Err(NameError::Address);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(NameError::Character);
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
                return Err(NameError::Label);
            }
        }
        // No top-level domain is a number; what ends in one is read as an IPv4 address somewhere.
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(NameError::Address);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names that an authority can sign for: each of the list, and everything below it (RFC 5280 §4.2.1.10 knows no
/// "exactly this name").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<Host>);

impl Names {
    /// Takes a list; names below another one of it say nothing new and are left out.
    pub fn new(list: impl IntoIterator<Item = Host>) -> Self {
        let mut names = Self(Vec::new());
        let mut list: Vec<Host> = list.into_iter().collect();
        // Shorter names cover longer ones, never the other way round.
        list.sort_by_key(|host| host.as_str().len());
        for host in list {
            if !names.cover(&host) {
                names.0.push(host);
            }
        }
        names.0.sort();
        names
    }

    /// Whether `host` is one of the names or below one.
    pub fn cover(&self, host: &Host) -> bool {
        self.0.iter().any(|name| {
            host.as_str().strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// The names, sorted, none below another.
    pub fn list(&self) -> &[Host] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn names_are_parsed() {
        assert_eq!(host("Api2.Example.COM").as_str(), "api2.example.com");
        for good in ["a", "localhost", "a_b.example", "xn--bcher-kva.example", "1.2.3.com", &"a.".repeat(126).add("a")]
        {
            assert!(Host::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Length),
            (&"a.".repeat(127), NameError::Length),
            ("example.com.", NameError::Label),
            (".example.com", NameError::Label),
            ("a..b", NameError::Label),
            ("-a.example", NameError::Label),
            ("a-.example", NameError::Label),
            (&"a".repeat(64), NameError::Label),
            ("*.example.com", NameError::Character),
            ("a b", NameError::Character),
            ("bücher.example", NameError::Character),
            ("a\0.example.com", NameError::Character),
            ("127.0.0.1", NameError::Address),
            ("example.7", NameError::Address),
            ("::1", NameError::Address),
        ] {
            assert_eq!(Host::parse(bad), Err(why), "{bad:?}");
        }
    }

    use std::ops::Add;

    #[test]
    fn a_name_covers_itself_and_what_is_below() {
        let names = Names::new(["example.com", "api.example.net", "deep.example.com", "example.com"].map(host));
        assert_eq!(names.list(), [host("api.example.net"), host("example.com")]);
        for (name, covered) in [
            ("example.com", true),
            ("a.b.example.com", true),
            ("api.example.net", true),
            ("example.net", false),
            ("xexample.com", false),
            ("example.com.evil.org", false),
            ("com", false),
        ] {
            assert_eq!(names.cover(&host(name)), covered, "{name}");
        }
    }
}
