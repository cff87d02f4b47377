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

/// Whether an address is not one of the open internet: this machine, local networks, and blocks that are set aside (IANA's
/// registries of special-purpose addresses). Where an address comes from somebody who is not trusted with what answers
/// there. IPv4 that comes dressed as IPv6 is judged as IPv4.
pub fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            matches!(
                (a, b, c),
                (0 | 10 | 127 | 224.., _, _)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0 | 2)
                    | (192, 88, 99)
                    | (192, 168, _)
                    | (198, 18 | 19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            ) || is_forbidden(ip.into())
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let four = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into();
            match (a, b) {
                (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => is_inside(four(g, h)),
                (0x2002, _) => is_inside(four(b, c)),
                // Teredo and its neighbours; documentation.
                (0x2001, ..0x200 | 0xdb8) => true,
                // What the internet has been given so far.
                _ => a & 0xe000 != 0x2000,
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
    #[test]
    fn the_open_internet_is_outside() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "::10.0.0.1",
        ] {
            assert!(is_inside(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "128.0.0.1",
            "169.253.1.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_inside(text.parse().unwrap()), "{text}");
        }
    }
}
