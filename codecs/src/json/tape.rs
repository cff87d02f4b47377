//! Whole documents that must be understood: a tape of values, read by name in any order.
//!
//! ```text
//!   bytes ──copy──▶ text (simd-json unescapes it in place) ──▶ nodes: kind, size, place in text ──▶ Value
//! ```
//!
//! For the management API and imported configuration, where a document is read here and there and not once from its
//! beginning to its end. Buffers are kept, so that the next document of that size costs no allocation. Size and nesting
//! are bounded, and every string is text: what [`Raw`] passes on as spelled (half a surrogate pair, a number beyond the
//! range of `f64`) is an error here.
//!
//! Deliberately absent: the spelling. Numbers are values and strings are unescaped, so nothing that must leave as it came
//! goes through a tape; requests and answers of models never do.

use simd_json::{Buffers, ErrorType, StaticNode};

use super::{Kind, Raw};

/// Larger buffers are given back before the next document.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Why a text is no document for a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct DecodeError {
    /// What was expected or wrong.
    pub what: &'static str,
    /// Offset in bytes.
    pub at: usize,
}

/// One value of the document. A container is followed by what it holds; in an object names and values take turns.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Scalar(StaticNode),
    /// Where the unescaped text stands.
    Text {
        at: usize,
        len: usize,
    },
    /// `size` counts all nodes inside, at any depth.
    Array {
        len: usize,
        size: usize,
    },
    Object {
        len: usize,
        size: usize,
    },
}

impl Node {
    /// Nodes up to the next value.
    fn span(self) -> usize {
        match self {
            Self::Array { size, .. } | Self::Object { size, .. } => size + 1,
            Self::Scalar(_) | Self::Text { .. } => 1,
        }
    }
}

/// A reader with its buffers. One document at a time.
///
/// ```
/// use codecs::json::Tape;
///
/// let mut tape = Tape::new();
/// let root = tape.parse(br#"{"name":"caf\u00e9","limits":[{"rpm":60}]}"#)?;
/// assert_eq!(root.get("name").and_then(|name| name.as_str()), Some("café"));
/// assert_eq!(root.iter().count(), 2);
/// let rpm = root.at(&["limits"]).and_then(|limits| limits.iter().next()).and_then(|first| first.get("rpm"));
/// assert_eq!(rpm.and_then(|rpm| rpm.as_u64()), Some(60));
/// # Ok::<(), codecs::json::DecodeError>(())
/// ```
pub struct Tape {
    text: Vec<u8>,
    buffers: Buffers,
    /// simd-json's own nodes, empty between documents; they borrow from `text` while there is one being read.
    spare: simd_json::Tape<'static>,
    nodes: Vec<Node>,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// Longest document, in bytes.
    pub const BYTES_MAX: usize = 16 << 20;
    /// Deepest nesting of arrays and objects.
    pub const DEPTH_MAX: usize = 128;

    /// A reader without buffers yet.
    pub fn new() -> Self {
        Self {
            text: Vec::new(),
            buffers: Buffers::with_max_depth(0, Self::DEPTH_MAX),
            spare: simd_json::Tape(Vec::new()),
            nodes: Vec::new(),
        }
    }

    /// Reads a document. The document before is forgotten, also when this one is an error.
    pub fn parse(&mut self, document: &[u8]) -> Result<Value<'_>, DecodeError> {
        if self.text.capacity() > KEPT_BYTES_MAX || self.nodes.capacity() > KEPT_BYTES_MAX / size_of::<Node>() {
            *self = Self::new();
        }
        self.text.clear();
        self.nodes.clear();
        if document.len() > Self::BYTES_MAX {
            return Err(DecodeError { what: "the document is too large", at: Self::BYTES_MAX });
        }
        self.text.extend_from_slice(document);
        let base = self.text.as_ptr() as usize;
        let mut tape = std::mem::replace(&mut self.spare, simd_json::Tape(Vec::new())).reset();
        let result = simd_json::fill_tape(&mut self.text, &mut self.buffers, &mut tape);
        let result = match result {
            Ok(()) => {
                self.nodes.extend(tape.0.iter().map(|node| place(node, base)));
                Ok(())
            }
            Err(error) => Err(explain(&error, document)),
        };
        self.spare = tape.reset();
        result?;
        Ok(Value { nodes: &self.nodes, text: &self.text })
    }
}

fn place(node: &simd_json::Node<'_>, base: usize) -> Node {
    match *node {
        simd_json::Node::Static(value) => Node::Scalar(value),
        // Strings are unescaped where they stand.
        simd_json::Node::String(text) => {
            Node::Text { at: (text.as_ptr() as usize).wrapping_sub(base), len: text.len() }
        }
        simd_json::Node::Array { len, count } => Node::Array { len, size: count },
        simd_json::Node::Object { len, count } => Node::Object { len, size: count },
    }
}

/// Our scanner names the fault and its place better; what it lets pass is told by simd-json.
fn explain(error: &simd_json::Error, document: &[u8]) -> DecodeError {
    if let Err(error) = Raw::parse(document) {
        return DecodeError { what: error.what, at: error.at };
    }
    let what = match error.error() {
        ErrorType::InvalidNumber | ErrorType::InvalidExponent => "a number out of range",
        ErrorType::InvalidUnicodeEscape | ErrorType::InvalidUnicodeCodepoint | ErrorType::InvalidEscape => {
            "an escape that is no character"
        }
        ErrorType::DepthLimitExceeded => "nested too deeply",
        _ => "not a text that can be read",
    };
    DecodeError { what, at: error.index().min(document.len()) }
}

/// A value of a document. Cheap to copy; missing members and wrong types are `None`.
#[derive(Debug, Clone, Copy)]
pub struct Value<'t> {
    /// The value's own node, and those behind it.
    nodes: &'t [Node],
    text: &'t [u8],
}

impl<'t> Value<'t> {
    fn node(self) -> Node {
        self.nodes.first().copied().unwrap_or(Node::Scalar(StaticNode::Null))
    }

    fn text_of(self, node: Node) -> Option<&'t str> {
        let Node::Text { at, len } = node else { return None };
        std::str::from_utf8(self.text.get(at..at.checked_add(len)?)?).ok()
    }

    /// Its type.
    pub fn kind(self) -> Kind {
        match self.node() {
            Node::Scalar(StaticNode::Null) => Kind::Null,
            Node::Scalar(StaticNode::Bool(_)) => Kind::Bool,
            Node::Scalar(_) => Kind::Number,
            Node::Text { .. } => Kind::String,
            Node::Array { .. } => Kind::Array,
            Node::Object { .. } => Kind::Object,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// A string, unescaped.
    pub fn as_str(self) -> Option<&'t str> {
        self.text_of(self.node())
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Scalar(StaticNode::Bool(value)) => Some(value),
            _ => None,
        }
    }

    /// A number that is a whole, non-negative value below 2^64; `1.0` and `1e3` count.
    pub fn as_u64(self) -> Option<u64> {
        match self.node() {
            Node::Scalar(StaticNode::U64(value)) => Some(value),
            Node::Scalar(StaticNode::I64(value)) => u64::try_from(value).ok(),
            Node::Scalar(StaticNode::F64(value)) => {
                (value >= 0.0 && value < u64::MAX as f64 && value.fract() == 0.0).then_some(value as u64)
            }
            _ => None,
        }
    }

    /// A signed whole number.
    pub fn as_i64(self) -> Option<i64> {
        match self.node() {
            Node::Scalar(StaticNode::I64(value)) => Some(value),
            _ => self.as_u64().and_then(|value| i64::try_from(value).ok()),
        }
    }

    /// A number, rounded to the nearest that `f64` has.
    pub fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Scalar(StaticNode::F64(value)) => Some(value),
            Node::Scalar(StaticNode::I64(value)) => Some(value as f64),
            Node::Scalar(StaticNode::U64(value)) => Some(value as f64),
            _ => None,
        }
    }

    /// Number of elements or members; 0 for scalars.
    pub fn len(self) -> usize {
        match self.node() {
            Node::Array { len, .. } | Node::Object { len, .. } => len,
            Node::Scalar(_) | Node::Text { .. } => 0,
        }
    }

    /// Whether it holds no element and no member.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The last member of that name, unless it is `null`.
    pub fn get(self, name: &str) -> Option<Value<'t>> {
        self.members().filter(|(key, _)| *key == name).last().map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// Follows a path of member names.
    pub fn at(self, path: &[&str]) -> Option<Value<'t>> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// Elements of an array, or values of an object, in order; empty for scalars.
    pub fn iter(self) -> Values<'t> {
        Values { rest: self.inside(), left: self.len(), named: self.kind() == Kind::Object }
    }

    /// Members of an object in order, repeated names included; empty for other values.
    pub fn members(self) -> impl Iterator<Item = (&'t str, Value<'t>)> {
        let left = if self.kind() == Kind::Object { self.len() } else { 0 };
        let mut rest = self.inside();
        (0..left).map(move |_| {
            let key = rest.as_str().unwrap_or_default();
            let value = rest.skip(1);
            rest = value.skip(value.node().span());
            (key, value)
        })
    }

    fn inside(self) -> Self {
        self.skip(1)
    }

    fn skip(self, nodes: usize) -> Self {
        Self { nodes: self.nodes.get(nodes..).unwrap_or_default(), text: self.text }
    }
}

/// The values inside a container.
#[derive(Debug, Clone)]
pub struct Values<'t> {
    rest: Value<'t>,
    left: usize,
    /// Names stand before the values.
    named: bool,
}

impl<'t> Iterator for Values<'t> {
    type Item = Value<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = self.rest.skip(usize::from(self.named));
        self.rest = value.skip(value.node().span());
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'t> IntoIterator for Value<'t> {
    type Item = Value<'t>;
    type IntoIter = Values<'t>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Panics unless the tape says what our scanner says.
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used)]
pub(crate) fn same(value: Value<'_>, raw: Raw<'_>) {
    assert_eq!(value.kind(), raw.kind());
    assert_eq!((value.as_bool(), value.as_u64()), (raw.as_bool(), raw.as_u64()), "{}", raw.as_str());
    assert_eq!((value.as_i64(), value.as_f64()), (raw.as_i64(), raw.as_f64()), "{}", raw.as_str());
    assert_eq!(value.as_str().map(str::to_owned), raw.as_text().map(|text| text.plain().into_owned()));
    assert_eq!(value.len(), raw.members().count() + raw.elements().count());
    assert_eq!(value.is_empty(), value.iter().next().is_none());
    assert_eq!(value.members().count(), raw.members().count());
    for ((key, value), (name, raw)) in value.members().zip(raw.members()) {
        assert!(name.is(key));
        same(value, raw);
    }
    let inner = raw.members().map(|(_, value)| value).chain(raw.elements());
    value.iter().zip(inner).for_each(|(value, raw)| same(value, raw));
    for (key, _) in value.members() {
        assert_eq!(value.get(key).map(Value::kind), raw.get(key).map(Raw::kind));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_by_name_and_in_order() {
        let mut tape = Tape::new();
        let text =
            br#" {"a":[1,-2,3.5,1e3,18446744073709551615],"b":{"c":null,"d":true},"b":{"d":"x\n\u00e9"},"":{}} "#;
        let root = tape.parse(text).unwrap();
        same(root, Raw::parse(text).unwrap());
        assert_eq!(root.at(&["b", "d"]).and_then(Value::as_str), Some("x\né"));
        assert_eq!(root.get("a").unwrap().iter().filter_map(Value::as_u64).collect::<Vec<_>>(), [1, 1000, u64::MAX]);
        assert_eq!(root.get("a").unwrap().iter().filter_map(Value::as_i64).collect::<Vec<_>>(), [1, -2, 1000]);
        assert!(root.get("").unwrap().is_empty() && root.get("x").is_none() && root.at(&["a", "b"]).is_none());
        assert_eq!(
            root.iter().map(Value::kind).collect::<Vec<_>>(),
            [Kind::Array, Kind::Object, Kind::Object, Kind::Object]
        );
    }

    #[test]
    fn a_tape_is_used_again() {
        let mut tape = Tape::new();
        assert_eq!(tape.parse(b"[\"a\",\"b\"]").unwrap().len(), 2);
        assert!(tape.parse(b"[\"a\",").is_err());
        assert_eq!(tape.parse(b"7").unwrap().as_u64(), Some(7));
        let large = format!("[{}0]", "\"x\",".repeat(KEPT_BYTES_MAX));
        assert_eq!(tape.parse(large.as_bytes()).unwrap().len(), KEPT_BYTES_MAX + 1);
        assert!(tape.parse(b"null").unwrap().is_null());
        assert!(tape.text.capacity() < KEPT_BYTES_MAX && tape.nodes.capacity() < KEPT_BYTES_MAX);
    }

    #[test]
    fn faults_have_a_name_and_a_place() {
        let mut tape = Tape::new();
        let mut fault = |text: &str| tape.parse(text.as_bytes()).unwrap_err();
        for text in ["", "{", "[1,]", "{\"a\" 1}", "\"\t\"", "nul", "1 2", "[1}"] {
            let raw = Raw::parse(text.as_bytes()).unwrap_err();
            assert_eq!(fault(text), DecodeError { what: raw.what, at: raw.at }, "{text}");
        }
        assert_eq!(tape.parse(b"\"\xC3\"").unwrap_err().what, "invalid UTF-8");
    }

    #[test]
    fn what_has_no_value_is_refused() {
        let mut tape = Tape::new();
        for text in ["1e999", "[-1e400]", "\"\\ud83d\"", "{\"\\ude80\":1}"] {
            assert!(Raw::parse_str(text).is_ok());
            let fault = tape.parse(text.as_bytes()).unwrap_err();
            assert!(fault.at <= text.len() && fault.what.contains("number") != text.contains('"'), "{text}: {fault}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let mut tape = Tape::new();
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(tape.parse(nested(Tape::DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(tape.parse(nested(Tape::DEPTH_MAX + 1).as_bytes()).unwrap_err().what, "nested too deeply");
        assert!(tape.parse(nested(1_000_000).as_bytes()).is_err());
        let large = vec![b' '; Tape::BYTES_MAX + 1];
        assert_eq!(tape.parse(&large).unwrap_err().what, "the document is too large");
    }

    fn document() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof!["[ -~]{0,12}", "[\"\\\\\n\t\u{1}é🚀]{0,6}", Just("a".to_owned())];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Into::into)),
            text.clone().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((text.clone(), inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tape_says_what_the_scanner_says(document in document(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) }.unwrap();
            same(Tape::new().parse(&text).unwrap(), Raw::parse(&text).unwrap());
        }

        /// What both accept means the same to both, and the tape accepts nothing that is no JSON.
        #[test]
        fn damage_changes_both(document in document(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = serde_json::to_vec(&document).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            let mut tape = Tape::new();
            match (tape.parse(&text), Raw::parse(&text)) {
                (Ok(value), Ok(raw)) => same(value, raw),
                (Err(ours), Err(raw)) => prop_assert_eq!((ours.what, ours.at), (raw.what, raw.at)),
                (Err(_), Ok(_)) => {}
                (Ok(_), Err(error)) => prop_assert!(false, "{} in {:?}", error, String::from_utf8_lossy(&text)),
            }
        }
    }
}
