//! Whether a request says that somebody passed it on.
//!
//! Tunnels and reverse proxies on this machine connect from 127.0.0.1 like any local program; what gives them away are
//! the headers that they add. This is looked at for each request without a key, so names are told apart by their first
//! letter before anything else.

use proxy::Headers;

/// Headers that forwarders add. `*` stands for any rest.
const NAMES: &[&str] = &[
    "forwarded",
    "x-forwarded",
    "x-forwarded-*",
    "x-real-ip",
    "x-real-port",
    "x-original-*",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-*",
    "x-flow-edge-*",
    "x-amzn-*",
    "x-azure-*",
    "x-arr-*",
    "x-cloud-trace-context",
    "x-appengine-*",
    "x-vercel-*",
    "x-nf-*",
    "client-ip",
    "true-client-ip",
    "via",
    "cf-*",
    "cdn-loop",
    "tailscale-*",
    "ngrok-*",
    "fly-*",
    "fastly-*",
    "akamai-*",
];

/// Whether a header says that somebody passed the request on. Underscores count as hyphens: some forwarders write them.
pub fn was_forwarded(headers: &Headers) -> bool {
    headers.iter().any(|(name, _)| may_be(name) && NAMES.iter().any(|known| is(name, known)))
}

/// Whether a name begins like one of [`NAMES`], judged by two letters alone: most names end here.
fn may_be(name: &[u8]) -> bool {
    /// For each first letter the second ones that occur.
    const BEGINNINGS: [u32; 32] = {
        let mut masks = [0; 32];
        let mut at = 0;
        while at < NAMES.len() {
            let known = NAMES[at].as_bytes();
            masks[(known[0] & 31) as usize] |= 1 << (known[1] & 31);
            at += 1;
        }
        masks
    };
    // An underscore stands for a hyphen, which has other low bits.
    let low = |byte: u8| if byte == b'_' { b'-' & 31 } else { byte & 31 };
    matches!(name, [first, second, ..] if BEGINNINGS[low(*first) as usize] & (1 << low(*second)) != 0)
}

fn is(name: &[u8], known: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    if name.first().map(|byte| plain(*byte)) != known.bytes().next() {
        return false;
    }
    let (stem, open) = known.strip_suffix('*').map_or((known, false), |stem| (stem, true));
    (name.len() == stem.len() || (open && name.len() > stem.len()))
        && name.iter().zip(stem.bytes()).all(|(a, b)| plain(*a) == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarders_are_known_by_what_they_add() {
        let has = |name: &str| {
            let mut headers = Headers::new();
            headers.append("accept", "*/*");
            headers.append(name.to_owned(), "");
            was_forwarded(&headers)
        };
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_for",
            "X-FORWARDED-PROTO",
            "X-Real-IP",
            "Via",
            "CF-Ray",
            "cf-connecting-ip",
            "Tailscale-User-Login",
            "X-Flow-Edge-Secret",
            "Cdn-Loop",
            "X-Amzn-Trace-Id",
        ] {
            assert!(has(name), "{name}");
        }
        for name in [
            "x-api-key",
            "x-stainless-lang",
            "viaduct",
            "x-forward",
            "forwarded-not",
            "x-realm-ip",
            "",
            "c",
            "x",
            "user-agent",
            "x-request-id",
            "anthropic-version",
            "fl",
            "cookie",
            "x-amz",
        ] {
            assert!(!has(name), "{name}");
        }
    }
}
