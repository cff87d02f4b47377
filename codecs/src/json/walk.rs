//! Walking through validated JSON: no error paths, only ends to be found.

use super::{Raw, Text, spans::Spans, swar::quote_or_backslash};

/// Iterator over the members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    items: Items<'a>,
}

impl<'a> Members<'a> {
    pub(super) fn new(object: Raw<'a>) -> Self {
        Self { items: Items::new(object, object.is_object()) }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.items.text;
        let bytes = text.as_bytes();
        let start = next_item(bytes, self.items.at)?;
        let key_end = skip_string(bytes, start);
        let key = Text::Escaped(&text[start + 1..key_end - 1]);
        let colon = skip_space(bytes, key_end);
        let value = skip_space(bytes, colon + 1);
        Some((key, self.items.value(value)))
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    items: Items<'a>,
}

impl<'a> Elements<'a> {
    pub(super) fn new(array: Raw<'a>) -> Self {
        Self { items: Items::new(array, array.is_array()) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let start = next_item(self.items.text.as_bytes(), self.items.at)?;
        Some(self.items.value(start))
    }
}

/// Position inside a container.
#[derive(Debug, Clone)]
struct Items<'a> {
    text: &'a str,
    at: usize,
    /// Spans of the containers that are still to come.
    spans: Spans<'a>,
}

impl<'a> Items<'a> {
    #[inline]
    fn new(container: Raw<'a>, fits: bool) -> Self {
        let at = if fits { 1 } else { container.text.len() };
        Self { text: container.text, at, spans: container.spans.inside() }
    }

    /// Takes the value that starts at `start`.
    #[inline]
    fn value(&mut self, start: usize) -> Raw<'a> {
        let bytes = self.text.as_bytes();
        let mut spans = Spans::NONE;
        let end = match bytes[start] {
            b'"' => match self.spans.string(start) {
                Some(end) => end,
                None => skip_string(bytes, start),
            },
            b'{' | b'[' => match self.spans.enter(start) {
                Some((end, inner)) => {
                    spans = inner;
                    end
                }
                None => skip_container(bytes, start),
            },
            _ => skip_scalar(bytes, start),
        };
        self.at = end;
        Raw { text: &self.text[start..end], spans }
    }
}

/// Start of the next item of a container, or `None` at its end. `at` stands behind the bracket or an item.
#[inline]
fn next_item(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = skip_space(bytes, at);
    if bytes.get(at) == Some(&b',') {
        at = skip_space(bytes, at + 1);
    }
    match bytes.get(at) {
        None | Some(b'}' | b']') => None,
        Some(_) => Some(at),
    }
}

#[inline]
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// End of the valid string that starts at `start`.
#[inline]
fn skip_string(bytes: &[u8], start: usize) -> usize {
    match quote_or_backslash(bytes, start + 1) {
        Some(end) if bytes[end] == b'"' => end + 1,
        Some(escape) => skip_escaped_string(bytes, escape),
        None => bytes.len(),
    }
}

/// End of a string whose first backslash stands at `at`.
#[inline(never)]
fn skip_escaped_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match quote_or_backslash(bytes, at + 2) {
            Some(end) if bytes[end] == b'"' => return end + 1,
            Some(escape) => at = escape,
            None => return bytes.len(),
        }
    }
}

/// End of the valid container that starts at `start`.
#[inline(never)]
fn skip_container(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = skip_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[inline]
fn skip_scalar(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(b) = bytes.get(at) {
        if matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
            break;
        }
        at += 1;
    }
    at
}
