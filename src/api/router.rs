//! Method and path → row of the table.

use std::sync::LazyLock;

use proxy::Method;

use super::{route::Route, table::ROUTES};

/// All rows.
static ALL: LazyLock<Vec<&'static Route>> = LazyLock::new(|| ROUTES.iter().copied().flatten().collect());

/// Chapters of their paths, such as `providers`, each once.
static CHAPTERS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut chapters: Vec<_> = routes().flat_map(Route::paths).filter_map(chapter).collect();
    chapters.sort_unstable();
    chapters.dedup();
    chapters
});

/// All rows of the table.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    ALL.iter().copied()
}

/// Segments of a path that stand for something, by their names.
pub(super) type Params = Vec<(&'static str, String)>;

/// Where a request leads.
#[derive(Debug)]
pub(super) enum Found {
    /// To a row, with the segments that stand for something.
    Route(&'static Route, Params),
    /// To a path that has other methods; these.
    Method(String),
    /// Nowhere.
    Nothing,
}

/// Whether a path is in one of our chapters, such as `/api/providers`: whatever comes behind it is ours to answer.
/// Ollama's chat is below `/api/` too, so this is asked on the way of its requests.
pub(super) fn is_ours(path: &str) -> bool {
    chapter(path).is_some_and(|chapter| CHAPTERS.contains(&chapter))
}

/// What stands behind `/api/`, up to the next slash.
fn chapter(path: &str) -> Option<&str> {
    path.strip_prefix("/api/")?.split('/').next()
}

/// Finds the row.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let path = path.strip_suffix('/').unwrap_or(path);
    let head = Method::HEAD == *method;
    let wanted = if head { &Method::GET } else { method };
    let mut best: Option<(&'static Route, Params)> = None;
    let mut allowed: Vec<&Method> = Vec::new();
    // Of several paths that fit, the one with the fewest open places is meant.
    let mut open_places = usize::MAX;
    for route in routes() {
        for template in route.paths() {
            let Some(params) = fits(template, path) else { continue };
            if params.len() < open_places {
                open_places = params.len();
                allowed.clear();
                best = None;
            } else if params.len() > open_places {
                continue;
            }
            allowed.extend(route.methods());
            if route.methods().any(|known| known == wanted) {
                best = Some((route, params));
            }
        }
    }
    match best {
        Some((route, params)) => Found::Route(route, params),
        None if allowed.is_empty() => Found::Nothing,
        None => Found::Method(allow(allowed)),
    }
}

/// The value of `Allow`.
fn allow(mut methods: Vec<&Method>) -> String {
    if methods.contains(&&Method::GET) {
        methods.push(&Method::HEAD);
    }
    methods.push(&Method::OPTIONS);
    methods.sort_unstable_by_key(|method| method.as_str());
    methods.dedup();
    methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ")
}

/// The open places of a path, if it fits.
fn fits(template: &'static str, path: &str) -> Option<Params> {
    let mut params = Vec::new();
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(wanted), Some(given)) => match wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => params.push((name, decoded(given).filter(|value| !value.is_empty())?)),
                None if wanted == given => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

/// A segment, percent-decoded; `None` if it is no UTF-8.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [a, b, ..]) => hex(*a).zip(hex(*b)).map(|(a, b)| a << 4 | b),
            _ => None,
        };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn found(method: Method, path: &str) -> String {
        match find(&method, path) {
            Found::Route(route, params) => {
                let params: Vec<_> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {}", route.operation, params.join(",")).trim().to_owned()
            }
            Found::Method(allow) => allow,
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_lead_to_rows() {
        for (method, path, expected) in [
            (Method::GET, "/api/health", "getHealth"),
            (Method::HEAD, "/api/health/", "getHealth"),
            (Method::POST, "/api/health", "GET, HEAD, OPTIONS"),
            (Method::GET, "/api/nothing", "nothing"),
            (Method::GET, "/api/health/x", "nothing"),
            (Method::GET, "/api/providers/a%20b%2fc", "getProvider id=a b/c"),
            (Method::PUT, "/api/providers/x", "updateProvider id=x"),
            (Method::PATCH, "/api/providers/x", "updateProvider id=x"),
            (Method::POST, "/api/providers/validate", "validateProvider"),
            (Method::POST, "/api/providers/x/test", "testProvider id=x"),
            (Method::GET, "/api/providers//test", "nothing"),
            (Method::GET, "/api/providers/%ff", "nothing"),
            (Method::GET, "/api/usage/chart", "getUsageChart"),
            (Method::GET, "/api/console-log", "listUsage"),
        ] {
            assert_eq!(found(method.clone(), path), expected, "{method} {path}");
        }
        assert!(is_ours("/api/providers/x/y") && is_ours("/api/tags"));
        assert!(!is_ours("/api/chat") && !is_ours("/api/") && !is_ours("/v1/models") && !is_ours("/api/provider"));
    }

    #[test]
    fn rows_are_sound() {
        let (mut operations, mut places) = (HashSet::new(), HashSet::new());
        for route in routes() {
            assert!(operations.insert(route.operation), "{} stands twice", route.operation);
            assert!(!route.summary.is_empty() && !route.tag.is_empty(), "{}", route.operation);
            for path in route.paths() {
                assert!(path.starts_with("/api/") && !path.ends_with('/'), "{path}");
                for method in route.methods() {
                    assert!(places.insert((method, path)), "{method} {path} stands twice");
                }
            }
            let reads = route.method == Method::GET;
            assert!(!(reads && route.changes), "{} changes and is read", route.operation);
            let names = |path: &'static str| path.split('/').filter(|part| part.starts_with('{')).collect::<Vec<_>>();
            assert!(route.paths().all(|path| names(path) == names(route.path)), "{}", route.operation);
        }
    }
}
