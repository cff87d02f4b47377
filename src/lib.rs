//! Flow Router: the product behind the binaries. It decides; `proxy` moves bytes and `codecs` gives them meaning.

pub mod health;
pub mod route;
pub mod settings;
pub mod vendor;
