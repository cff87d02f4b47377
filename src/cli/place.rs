//! This machine: the data folder of a router, its token for administrators, programs on the path, variables.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Longest token that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 256;

/// A variable, if it says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folder that a variable names.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The text of a file of at most so many bytes that can be read.
pub(crate) fn text(file: &Path, bytes_max: u64) -> Option<String> {
    let mut text = String::new();
    fs::File::open(file).ok()?.take(bytes_max).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The data folder: what was said, what the environment says, `~/.flow_router`.
pub(crate) fn data_dir(said: Option<PathBuf>) -> PathBuf {
    let usual = || home().map(|home| home.join(".flow_router"));
    said.or_else(|| folder("FLOW_ROUTER_DATA_DIR"))
        .or_else(|| folder("FLOW_ROUTER_DATA"))
        .or_else(usual)
        .unwrap_or_default()
}

/// The user's home folder.
pub(crate) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// Where a running router leaves its token for administrators.
pub(crate) fn token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("admin.token")
}

/// The token in the data folder, if there is one and it may be read.
pub(crate) fn token(data_dir: &Path) -> Option<String> {
    let text = text(&token_file(data_dir), TOKEN_BYTES_MAX)?;
    let token = text.trim();
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| token.to_owned())
}

/// The variables that name a proxy, in capitals.
pub(crate) fn proxies() -> Vec<&'static str> {
    let is_set = |name: &&str| variable(name).or_else(|| variable(&name.to_lowercase())).is_some();
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].into_iter().filter(is_set).collect()
}

/// The list of hosts that no proxy gets requests for, with its variable. Whoever reads the lower-case name reads it
/// first.
pub(crate) fn no_proxy() -> Option<(&'static str, String)> {
    ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| Some((name, variable(name)?)))
}

/// Whether a host is in such a list.
pub(crate) fn spares(list: &str, host: &str) -> bool {
    list.split(',').map(str::trim).any(|entry| entry == "*" || entry.eq_ignore_ascii_case(host))
}

/// The file of a program on `PATH`, looked for here and never by a shell.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // On Windows a name means the first of these, and scripts count: npm installs clients as `.cmd`.
    let endings: Vec<String> = if cfg!(windows) {
        let known = env::var("PATHEXT").unwrap_or_else(|_| ".COM;.EXE;.BAT;.CMD".to_owned());
        known.split(';').map(str::to_owned).collect()
    } else {
        vec![String::new()]
    };
    let files = env::split_paths(&path).flat_map(|folder| {
        let folder = folder.clone();
        endings.iter().map(move |ending| folder.join(format!("{name}{ending}"))).collect::<Vec<_>>()
    });
    files.into_iter().find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(token(dir.path()), None);
        fs::create_dir(dir.path().join("run")).unwrap();
        for (text, expected) in [("fra_12\n", Some("fra_12")), ("", None), ("a b", None), ("a\r\nx: y", None)] {
            fs::write(token_file(dir.path()), text).unwrap();
            assert_eq!(token(dir.path()).as_deref(), expected, "{text:?}");
        }
    }
}
