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
//! | `system` | facts of this machine: its hosts file, its caches, who holds a port |
//! | `authority`, `upstreams` | the certificates that we answer with; where the vendors truly are |
//! | `self_test` | asks ourselves before anybody else does |
//! | `lease`, `repair` | who intercepts; putting back what a dead process left |
//! | `gate`, `answers`, `seen` | what the front asks, what calls are answered, what was last seen of each host |
//! | `hands` | binding and the hosts file: by ourselves, or by the guard |
//! | `guard` | what only the administrator may do, for a program that is not |
//! | `machine`, `manager` | the steps on this machine; start, stop and status while the program runs |
//! | `doctor` | what keeps it from working, and the command against it |

pub mod alias;
mod answers;
pub mod authority;
pub mod doctor;
mod failure;
mod gate;
#[cfg(unix)]
pub mod guard;
mod hands;
pub mod hosts;
pub mod journal;
pub mod lease;
pub mod lifecycle;
mod machine;
mod manager;
pub mod policy;
pub mod repair;
pub mod routes;
pub mod seen;
mod self_test;
pub mod system;
mod upstreams;

pub use failure::{Failure, NEEDS_PRIVILEGE};
pub use machine::Ground;
pub use manager::Manager;
