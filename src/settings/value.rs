//! Texts to values: one function per type, with errors that say what is allowed.

use std::{net::SocketAddr, time::Duration};

/// A duration: a number of seconds, or a number with `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (digits, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => (text[..at].trim(), &text[at..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is not a duration: use a number with ms, s, m or h, such as 500ms or 35s")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("`{text}` is not a duration: use 500ms, 35s, 5m or 1h"))?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| format!("`{text}` is out of range for a duration"))
}

/// A duration that leaves time for something: zero is refused.
pub fn patience(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{}` leaves no time at all", text.trim())),
        time => Ok(time),
    }
}

/// A size in bytes: a number, or a number with `KiB`, `MiB` or `GiB`.
pub fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match text[split..].to_ascii_lowercase().as_str() {
        "" | "b" => 1usize,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size: use bytes or a number with KiB, MiB or GiB")),
    };
    let number: usize =
        text[..split].trim().parse().map_err(|_| format!("`{text}` is not a size: use 64MiB or 1048576"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        other => Err(format!("`{other}` is neither true nor false")),
    }
}

/// A whole number of at least `min`.
pub fn whole(text: &str, min: usize) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(value) if value >= min => Ok(value),
        _ => Err(format!("`{}` is not a whole number of at least {min}", text.trim())),
    }
}

/// An IP address with a port; `example` is one that would do.
pub fn socket(text: &str, example: &str) -> Result<SocketAddr, String> {
    let addr = text.trim().replace("localhost", "127.0.0.1").parse();
    addr.map_err(|_| format!("`{text}` is not an address: use IP:PORT, such as {example}"))
}

/// One of several words.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not allowed here: use {}", allowed.join(", "))
    })
}

/// Words separated by commas.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The message for a name that nobody knows; `kind` is what it would be the name of: a key, a host.
pub fn unknown<'a>(kind: &str, name: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let allowed: Vec<_> = allowed.into_iter().collect();
    match nearest(name, allowed.iter().copied(), 3) {
        Some(near) => format!("unknown {kind} `{name}`: did you mean `{near}`?"),
        None => format!("unknown {kind} `{name}`: allowed are {}", allowed.join(", ")),
    }
}

/// The allowed name that is most like `name`, if it differs in at most `reach` letters.
pub fn nearest<'a>(name: &str, allowed: impl IntoIterator<Item = &'a str>, reach: usize) -> Option<&'a str> {
    allowed
        .into_iter()
        .map(|other| (distance(name, other), other))
        .filter(|(d, _)| *d <= reach)
        .min()
        .map(|(_, other)| other)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = if ca == *cb { diagonal } else { diagonal + 1 };
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("35").unwrap(), Duration::from_secs(35));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("-1s").is_err());
        assert_eq!(patience("1ms").unwrap(), Duration::from_millis(1));
        assert!(patience("0").unwrap_err().contains("no time"));
        assert_eq!(size("64MiB").unwrap(), 64 << 20);
        assert!(size("many").is_err());
    }

    #[test]
    fn a_typing_error_finds_its_word() {
        assert_eq!(nearest("base_ulr", ["base_url", "models"], 3), Some("base_url"));
        assert_eq!(nearest("zzz", ["base_url", "models"], 3), None);
    }
}
