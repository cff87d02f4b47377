//! What guards secrets.

use super::{Life, PLAIN, Row};
use crate::settings::{SecretStore, value};

pub(super) const ROWS: &[Row] = &[Row {
    name: "secret_store",
    value: "file|env|passphrase",
    default: "file",
    help: "What guards the keys in secret.key: its mode alone, the key in FLOW_ROUTER_SECRET_KEY, or the passphrase in \
               FLOW_ROUTER_SECRET_PASSPHRASE (with _FILE behind it: the file that has it)",
    life: Life::Boot,
    stored: false,
    set: |s, text| {
        if text.trim() == "keyring" {
            return Err("keyrings of desktops are not used, because services and containers have none: use env with \
                            FLOW_ROUTER_SECRET_KEY_FILE, or passphrase"
                .to_owned());
        }
        let known = [("file", SecretStore::File), ("env", SecretStore::Env), ("passphrase", SecretStore::Passphrase)];
        s.secret_store = value::word(text, &known)?;
        Ok(())
    },
    ..PLAIN
}];
