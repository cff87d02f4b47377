//! The sources of settings: read from where they are, and merged.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Fault, Settings,
    merge::{Stored, layers},
};

/// File of callers' keys in the data folder; digests only.
pub const KEYS_FILE: &str = "keys.toml";
/// File of settings in the data folder, read if it is there.
const CONFIG_FILE: &str = "config.toml";

/// What the program was told from outside its store.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Settings given as flags: row name and text.
    pub flags: Vec<(&'static str, String)>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The file that was named, if one was: then it must be there.
    pub named: Option<PathBuf>,
    /// The file's name and text.
    pub file: Option<(PathBuf, String)>,
    /// The name and text of the file of keys.
    pub keys: Option<(PathBuf, String)>,
}

impl Sources {
    /// What flags and environment say; no file is read yet.
    pub fn outside(flags: Vec<(&'static str, String)>, named: Option<PathBuf>) -> Self {
        let env: Vec<(String, String)> =
            std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect();
        let variable = env.iter().find(|(name, _)| name == "FLOW_ROUTER_CONFIG").map(|(_, path)| PathBuf::from(path));
        Self { flags, env, named: named.or(variable), ..Self::default() }
    }

    /// Reads the environment and the files.
    pub fn read(flags: Vec<(&'static str, String)>, named: Option<PathBuf>) -> Result<Self, Vec<Fault>> {
        Self::outside(flags, named).again()
    }

    /// The settings that they lead to as far as they can be understood, whatever else is wrong with them.
    pub fn draft(&self) -> Settings {
        layers(self, &Stored::default()).0
    }

    /// The data folder that they lead to.
    fn data_dir(&self) -> PathBuf {
        self.draft().data_dir
    }

    /// Reads the files once more.
    pub fn again(&self) -> Result<Self, Vec<Fault>> {
        let mut sources = Self { file: None, keys: None, ..self.clone() };
        // The data folder can only come from flags and environment: the file in it cannot say where it is.
        let path = sources.named.clone().unwrap_or_else(|| sources.data_dir().join(CONFIG_FILE));
        sources.file = text_of(path, sources.named.is_some())?;
        sources.keys = text_of(sources.data_dir().join(KEYS_FILE), false)?;
        Ok(sources)
    }
}

fn text_of(path: PathBuf, needed: bool) -> Result<Option<(PathBuf, String)>, Vec<Fault>> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => Ok(None),
        Err(error) => Err(vec![unreadable(&path, &error)]),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    Fault { place: path.display().to_string(), message: format!("cannot be read: {error}") }
}
