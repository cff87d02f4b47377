//! *Trust doctor*: who trusts our root, and the exact command to add or remove it.
//!
//! Three parts. [`System`] holds facts about a machine: found on this one, or written down by a test for another. [`plan`]
//! makes of them what there is to look at and what to run; it touches nothing, so the plan for Windows can be read and
//! tested on Linux. [`look`] then looks, through [`Eyes`].
//!
//! Nothing here changes a trust store. The commands are shown; who runs them does so because the user asked for exactly
//! that.

mod look;
mod plan;
mod step;
mod system;

pub use look::{Eyes, Machine, Ran, State, look};
pub use plan::{Files, Look, Store, plan};
pub use step::{Command, Step};
pub use system::{Family, JavaStore, NssDatabase, Os, System};

use crate::Root;

/// A bundle for programs whose variable replaces the system's roots: those roots, and ours behind them. `None` if ours is
/// in it already.
pub fn bundle(system_roots: &[u8], root: &Root) -> Option<Vec<u8>> {
    if look::holds(system_roots, root) {
        return None;
    }
    let mut bundle = system_roots.to_vec();
    if bundle.last().is_some_and(|&last| last != b'\n') {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(root.pem().as_bytes());
    Some(bundle)
}

#[cfg(test)]
mod tests;
