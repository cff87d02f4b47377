//! Where this program listens, so that it never calls itself.
//!
//! A name that the hosts file leads to us would otherwise be relayed to us, and relayed again, until something runs out.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

/// Addresses kept: one per listener.
const ADDRESSES_MAX: usize = 64;

/// The addresses that this program is bound to. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Arc<Mutex<Vec<SocketAddr>>>);

impl OwnAddresses {
    /// Nowhere yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// We listen on `address` as well. Of more than 64 the later ones are not remembered.
    pub fn add(&self, address: SocketAddr) {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() < ADDRESSES_MAX && !own.contains(&address) {
            own.push(address);
        }
    }

    /// We listen on `address` no more.
    pub fn remove(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|own| *own != address);
    }

    /// Whether who dials `address` talks to us. A listener on every address is met at every loopback one; those of this
    /// machine's networks are not known here.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dialled = home(address.ip());
        own.iter().any(|own| {
            let bound = own.ip().to_canonical();
            let met = bound == dialled || (bound.is_unspecified() && dialled.is_loopback());
            own.port() == address.port() && met
        })
    }
}

/// Who dials no address in particular dials this machine.
fn home(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn we_are_met_where_we_listen() {
        let own = OwnAddresses::new();
        own.add("127.0.0.1:443".parse().unwrap());
        own.add("0.0.0.0:8080".parse().unwrap());
        let met = |text: &str| own.contains(text.parse().unwrap());
        assert!(met("127.0.0.1:443") && met("[::ffff:127.0.0.1]:443") && met("0.0.0.0:443"));
        assert!(met("127.0.0.1:8080") && met("127.9.9.9:8080"));
        assert!(!met("127.0.0.2:443") && !met("127.0.0.1:444") && !met("192.0.2.1:8080") && !met("[::1]:443"));
        own.remove("127.0.0.1:443".parse().unwrap());
        assert!(!met("127.0.0.1:443"));
    }
}
