//! Interception: the traffic of programs that talk to fixed hosts comes here, and the machine is always put back.
//!
//! | module | content |
//! |---|---|
//! | `policy` | what becomes of a connection, by its name: the decision table |
//! | `routes` | which calls are chats |
//! | `alias` | where the chats of a model go |
//! | `lifecycle` | in which order the machine is changed and put back; pure |
//! | `journal` | what is about to be changed, written before it is |
//! | `hosts` | our block in the hosts file |
//! | `failure` | why something was not done, and what to run |

pub mod alias;
pub mod authority;
pub mod doctor;
mod failure;
pub mod hosts;
pub mod journal;
pub mod lease;
pub mod lifecycle;
pub mod policy;
pub mod repair;
pub mod routes;
pub mod self_test;
pub mod system;

pub use failure::{Failure, NEEDS_PRIVILEGE};
