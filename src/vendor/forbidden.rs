//! Addresses that are never asked, whoever names them: what clouds tell their machines about themselves, credentials
//! included, is served there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of such services.
const NAMES: [&str; 4] = ["metadata.google.internal", "metadata.goog", "instance-data", "metadata"];

/// Whether an address is one that is never asked. IPv4 that comes dressed as IPv6 is judged as IPv4.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_link_local()
                || ip == Ipv4Addr::new(168, 63, 129, 16)
                || ip == Ipv4Addr::new(100, 100, 100, 200)
                || ip == Ipv4Addr::new(192, 0, 0, 192)
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let low = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
            match (a, b) {
                // NAT64: the last four bytes are an IPv4 address.
                (0x64, 0xff9b) if c == 0 && d == 0 && e == 0 && f == 0 => is_forbidden(low.into()),
                // 6to4: two of the first four segments are.
                (0x2002, _) => is_forbidden(Ipv4Addr::from((u32::from(b) << 16) | u32::from(c)).into()),
                _ => ip.is_unicast_link_local() || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
            }
        }
    }
}

/// Whether a host name is one that is never asked.
pub fn is_forbidden_name(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    NAMES.iter().any(|name| host.eq_ignore_ascii_case(name)) || host.parse::<IpAddr>().is_ok_and(is_forbidden)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn metadata_is_never_asked() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_forbidden(text.parse().unwrap()), "{text}");
            assert!(is_forbidden_name(text), "{text}");
        }
        for text in
            ["127.0.0.1", "::1", "192.168.1.2", "10.0.0.1", "8.8.8.8", "fd00::1", "2606:4700::1111", "64:ff9b::808:808"]
        {
            assert!(!is_forbidden(text.parse().unwrap()), "{text}");
        }
        assert!(is_forbidden_name("Metadata.Google.Internal.") && !is_forbidden_name("example.org"));
    }
}
