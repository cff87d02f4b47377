//! The neutral model between dialects: one [`Request`], one stream of [`Event`]s, one whole [`Reply`].
//!
//! The hub is the union of what the dialects can say, and it carries opaque blobs (signatures, encrypted reasoning)
//! byte for byte. It is no dialect itself: nothing here is ever sent.
//!
//! ```text
//!   client bytes ─▶ dialect::X::request ─▶ Request ─▶ hygiene ─▶ dialect::Y::request ─▶ upstream bytes
//!   client bytes ◀─ dialect::X::stream ◀─ Serial ◀─ Event ◀─ dialect::Y::stream ◀─ upstream bytes
//!                                          Reply = Events folded
//! ```

pub mod arguments;
pub mod call_ids;
pub mod check;
pub mod error;
pub mod event;
pub mod hygiene;
pub mod ids;
pub mod logprobs;
pub mod names;
pub mod reasoning;
pub mod recall;
pub mod replay;
pub mod reply;
pub mod request;
pub mod rider;
pub mod schema;
pub mod serial;
pub mod surrogates;
pub mod usage;

pub use call_ids::CallIds;
pub use error::{ApiError, ErrorKind};
pub use event::{Emit, Event, Field, Finish, Form, Open, Origin, Refused, Rider, ToolKind};
pub use logprobs::Logprobs;
pub use reply::{EscapedBuf, Reply, ReplyPart};
pub use request::Request;
pub use usage::Usage;
