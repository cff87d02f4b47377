//! What requests cost, and who may watch them.
//!
//! ```text
//!   hub::Usage ──▶ ledger::cost ──▶ nano-USD ──▶ a row of the log
//!                      ▲
//!   pricing::RateCard ─┘  the user's prices over the built-in card; no price is no cost, never zero
//!
//!   exchange ──▶ live::Feed ──▶ whoever listens; nobody does: one atomic load
//! ```
//!
//! Money is integers: prices in pico-USD per token (one USD per million tokens is 1,000,000), costs in nano-USD. Nothing
//! here knows budgets, subscriptions or currencies other than the US dollar.

mod card;
pub mod import;
pub mod ledger;
pub mod live;
pub mod pricing;

pub use live::Feed;
pub use pricing::RateCard;
