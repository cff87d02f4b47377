//! Cookies: read from requests, written for answers.
//!
//! Over https names begin with `__Host-`: browsers then take them from this very host only, with `Secure` and for all
//! paths, so that neither a sister domain nor plain http can put one there.

use proxy::Headers;

/// Name of the session's cookie, without the prefix of https.
const SESSION: &str = "flow_router_session";

/// Name of the cookie of a login at the identity provider that is under way.
const OIDC: &str = "flow_router_oidc";

/// The session's token, if the browser sent one.
pub(super) fn session(headers: &Headers, https: bool) -> Option<&str> {
    find(headers, SESSION, https)
}

/// What was sealed at the start of a login.
pub(super) fn oidc(headers: &Headers, https: bool) -> Option<&str> {
    find(headers, OIDC, https)
}

/// A `set-cookie` that keeps a session for `seconds`; zero ends it.
pub(super) fn set_session(token: &str, seconds: i64, https: bool) -> String {
    set(SESSION, token, seconds, https)
}

/// A `set-cookie` that keeps a login under way for `seconds`; zero ends it.
pub(super) fn set_oidc(sealed: &str, seconds: i64, https: bool) -> String {
    set(OIDC, sealed, seconds, https)
}

fn set(name: &str, value: &str, seconds: i64, https: bool) -> String {
    let (prefix, secure) = if https { ("__Host-", "; Secure") } else { ("", "") };
    format!("{prefix}{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

fn find<'h>(headers: &'h Headers, name: &str, https: bool) -> Option<&'h str> {
    let prefix = if https { "__Host-" } else { "" };
    // HTTP/2 may cut the field into several.
    let mut pairs =
        headers.all("cookie").filter_map(|field| std::str::from_utf8(field).ok()).flat_map(|f| f.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(prefix)?.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&str]) -> Headers {
        let mut headers = Headers::new();
        for field in fields {
            headers.append("cookie", (*field).to_owned());
        }
        headers
    }

    #[test]
    fn cookies_are_found_among_others() {
        for fields in
            [&["flow_router_session=t"][..], &["a=b; flow_router_session=t; c=d"], &["a=b", " flow_router_session=t"]]
        {
            assert_eq!(session(&headers(fields), false), Some("t"), "{fields:?}");
        }
        for fields in [
            &[][..],
            &["xflow_router_session=t"],
            &["flow_router_session"],
            &["flow_router_sessions=t"],
            &["a=flow_router_session=t"],
        ] {
            assert_eq!(session(&headers(fields), false), None, "{fields:?}");
        }
    }

    #[test]
    fn over_https_only_what_this_host_has_set_counts() {
        let both = headers(&["flow_router_session=tossed; __Host-flow_router_session=ours"]);
        assert_eq!(session(&both, true), Some("ours"));
        assert_eq!(session(&both, false), Some("tossed"));
        assert_eq!(session(&headers(&["flow_router_session=tossed"]), true), None);
    }

    #[test]
    fn scripts_and_other_sites_get_no_cookie() {
        assert_eq!(
            set_session("t", 604_800, false),
            "flow_router_session=t; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            set_oidc("", 0, true),
            "__Host-flow_router_oidc=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        );
    }
}
