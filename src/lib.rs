//! Flow Router: the product behind the binaries. It decides; `proxy` moves bytes and `codecs` gives them meaning.

pub mod settings;
