//! What the program tells about itself: log lines and metrics. Never a body, a prompt or a secret.

pub mod load;
pub mod log;
pub mod metrics;
pub mod ring;
