//! The environment: `FLOW_ROUTER_*` for settings, and the vendors' own key variables for providers.

use super::{Fault, Secret, Settings, Source, fields::from_preset, presets::PRESETS, table::TABLE, told::Told, value};

/// Variables that say where the data folder is, the one that wins first. The second is the earlier program's name.
const DATA_DIR: [&str; 2] = ["FLOW_ROUTER_DATA_DIR", "FLOW_ROUTER_DATA"];

/// Puts the environment over what the file said.
pub(super) fn apply(settings: &mut Settings, told: &mut Told, env: &[(String, String)], faults: &mut Vec<Fault>) {
    for (name, text) in env.iter().filter(|(name, _)| name.starts_with("FLOW_ROUTER_")) {
        let variable = match name == DATA_DIR[1] && !env.iter().any(|(other, _)| other == DATA_DIR[0]) {
            true => DATA_DIR[0],
            false => name,
        };
        match TABLE.iter().find(|row| row.variable() == variable) {
            Some(row) => {
                faults.extend(told.tell(settings, row, text, Source::Environment, name.clone()).err());
            }
            // Other programs use the prefix too (and `FLOW_ROUTER_CONFIG` names the file): only what looks like a typing
            // error is one.
            None => {
                let variables: Vec<_> = TABLE.iter().map(super::Row::variable).collect();
                if let Some(near) = value::nearest(name, variables.iter().map(String::as_str), 2) {
                    faults.push(Fault {
                        place: name.clone(),
                        message: format!("unknown variable: did you mean {near}?"),
                    });
                }
            }
        }
    }
    for preset in PRESETS {
        let key = preset.env.iter().find_map(|variable| {
            env.iter().find(|(name, text)| name == variable && !text.trim().is_empty()).map(|(_, text)| text.trim())
        });
        let configured = settings.providers.iter().any(|provider| provider.name == preset.id);
        if let (Some(key), false) = (key, configured) {
            let mut provider = from_preset(preset.id, preset, Source::Environment);
            provider.api_key = Some(Secret::new(key));
            // What the file says comes first.
            provider.priority = 100;
            settings.providers.push(provider);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::settings::{Sources, load};

    fn sources(env: &[(&str, &str)]) -> Sources {
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Sources { env, ..Sources::default() }
    }

    #[test]
    fn keys_in_the_environment_add_providers() {
        let settings =
            load(&sources(&[("OPENAI_API_KEY", "sk-x"), ("GEMINI_API_KEY", "g"), ("GROQ_API_KEY", " ")])).unwrap();
        let names: Vec<_> = settings.providers.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!(names, ["openai", "gemini"]);
    }

    #[test]
    fn the_data_folder_has_an_earlier_name() {
        let folder = |env: &[(&str, &str)]| load(&sources(env)).unwrap().data_dir;
        assert_eq!(folder(&[("FLOW_ROUTER_DATA", "/old")]), std::path::Path::new("/old"));
        let both = [("FLOW_ROUTER_DATA_DIR", "/new"), ("FLOW_ROUTER_DATA", "/old")];
        assert_eq!(folder(&both), std::path::Path::new("/new"));
        assert_eq!(folder(&[both[1], both[0]]), std::path::Path::new("/new"));
    }

    #[test]
    fn flags_win_over_the_environment() {
        let mut sources = sources(&[("FLOW_ROUTER_ADDR", "127.0.0.1:7"), ("FLOW_ROUTER_DRAIN", "1s")]);
        sources.flags.push(("addr", "127.0.0.1:8".into()));
        let settings = load(&sources).unwrap();
        assert_eq!((settings.addr.port(), settings.drain.as_secs()), (8, 1));
    }

    #[test]
    fn a_misspelt_variable_is_a_fault() {
        let faults = load(&sources(&[("FLOW_ROUTER_ADR", "x")])).unwrap_err();
        assert_eq!(faults[0].to_string(), "FLOW_ROUTER_ADR: unknown variable: did you mean FLOW_ROUTER_ADDR?");
    }
}
