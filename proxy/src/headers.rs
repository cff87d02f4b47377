//! An ordered header list that keeps the sender's order and case.
//!
//! Names and values are slices of the buffer in which the head arrived: building the list copies nothing. Lookups are
//! linear and case-insensitive; heads are short. Values of credential headers never show in `Debug`.

use std::fmt;

use bytes::Bytes;

/// Names whose values are never printed.
const SECRET: &[&str] =
    &["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "set-cookie"];

/// Header fields in the order and case in which they were sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(Bytes, Bytes)>,
}

impl Headers {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list with room for `n` fields.
    pub fn with_capacity(n: usize) -> Self {
        Self { fields: Vec::with_capacity(n) }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first value of `name`, which is compared without case.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// The first value of `name` as text, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// All values of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// Whether `name` is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Appends a field behind all others.
    pub fn append(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.fields.push((name.into(), value.into()));
    }

    /// Replaces the first field of that name in place and removes the others; appends it if there is none.
    pub fn set(&mut self, name: &'static str, value: impl Into<Bytes>) {
        let value = value.into();
        let Some(at) = self.fields.iter().position(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())) else {
            self.fields.push((Bytes::from_static(name.as_bytes()), value));
            return;
        };
        self.fields[at].1 = value;
        let mut index = 0;
        self.fields.retain(|(n, _)| {
            index += 1;
            index - 1 <= at || !n.eq_ignore_ascii_case(name.as_bytes())
        });
    }

    /// Removes all fields of that name.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Keeps the fields for which `keep` says yes.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.fields.retain(|(n, v)| keep(n, v));
    }

    /// Whether `connection` names fields that are for the next hop alone (RFC 9110 §7.6.1). Nearly always it names none,
    /// and [`Headers::is_named`] need not be asked.
    pub fn names_fields(&self) -> bool {
        let plain = [&b"keep-alive"[..], b"close", b"upgrade"];
        self.named().any(|name| !name.is_empty() && !plain.iter().any(|plain| plain.eq_ignore_ascii_case(name)))
    }

    /// Whether `connection` names this field.
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.named().any(|named| named.eq_ignore_ascii_case(name))
    }

    fn named(&self) -> impl Iterator<Item = &[u8]> {
        self.all("connection").flat_map(|value| value.split(|&b| b == b',')).map(<[u8]>::trim_ascii)
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.fields.iter().map(|(n, v)| (n, v))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            let name = String::from_utf8_lossy(name);
            if SECRET.iter().any(|s| s.eq_ignore_ascii_case(&name)) {
                map.entry(&name, &"<redacted>");
            } else {
                map.entry(&name, &String::from_utf8_lossy(value));
            }
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Headers {
        let mut headers = Headers::new();
        headers.append("Host", "a");
        headers.append("X-A", "1");
        headers.append("Authorization", "Bearer secret-value");
        headers.append("x-a", "2");
        headers
    }

    #[test]
    fn lookup_ignores_case_and_keeps_order() {
        let headers = sample();
        assert_eq!(headers.text("host"), Some("a"));
        let all: Vec<_> = headers.all("X-a").collect();
        assert_eq!(all, ["1", "2"]);
    }

    #[test]
    fn set_replaces_in_place_and_drops_the_rest() {
        let mut headers = sample();
        headers.set("x-a", "3");
        let names: Vec<_> = headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[1], (Bytes::from("X-A"), Bytes::from("3")));
        headers.set("x-b", "4");
        assert_eq!(headers.text("X-B"), Some("4"));
    }

    #[test]
    fn connection_names_fields() {
        let mut headers = sample();
        headers.append("Connection", "Keep-Alive,, close");
        assert!(!headers.names_fields() && headers.is_named(b"close") && !headers.is_named(b"x-a"));
        headers.append("connection", " X-A ");
        assert!(headers.names_fields() && headers.is_named(b"x-a"));
    }

    #[test]
    fn debug_hides_credentials() {
        assert!(!format!("{:?}", sample()).contains("secret-value"));
    }
}
