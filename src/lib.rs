//! Flow Router: the product behind the binaries.
