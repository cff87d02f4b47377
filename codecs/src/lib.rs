//! Bytes to meaning and back: framings, JSON scanning, and the LLM dialects.
//!
//! Sans-IO: no sockets, no clock, no async. Bytes are pushed in, items come out; time is an argument where it matters.
