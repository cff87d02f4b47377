//! The built-in rate card: `prices.tsv`, made by `generate.py`, searched where it lies in the program.
//!
//! A price is read when it is asked for. `THIRD_PARTY.md` says whose work the list is.

use std::{collections::HashMap, sync::OnceLock};

use super::pricing::{Price, Rates, Tier};

const TEXT: &str = include_str!("prices.tsv");

/// A line of the card.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) vendor: &'static str,
    pub(super) model: &'static str,
    words: &'static str,
}

/// All lines, sorted by vendor and model.
pub(super) fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| TEXT.lines().filter_map(row).collect())
}

fn row(line: &'static str) -> Option<Row> {
    let mut fields = line.split('\t');
    let (vendor, model, words) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Row { vendor, model, words })
}

/// The line of a vendor's model; names are lower case. By hash: every request looks here, and a search through the sorted
/// lines would touch a dozen of them.
pub(super) fn find(vendor: &str, model: &str) -> Option<Row> {
    static INDEX: OnceLock<HashMap<(&str, &str), Row>> = OnceLock::new();
    let index = INDEX.get_or_init(|| rows().iter().map(|row| ((row.vendor, row.model), *row)).collect());
    index.get(&(vendor, model)).copied()
}

/// What the first line says.
pub(super) fn version() -> &'static str {
    let first = TEXT.lines().next().unwrap_or_default();
    first.trim_start_matches("# ").split(',').next().unwrap_or_default()
}

impl Row {
    /// Reads the price. `generate.py` says what the letters mean; a test reads every line. Byte by byte: this runs once per
    /// request, and splitting costs several times as much.
    pub(super) fn price(&self) -> Price {
        let mut price = Price::default();
        let (mut letter, mut number) = (b' ', 0u64);
        for byte in self.words.bytes().chain([b' ']) {
            match byte {
                b' ' => {
                    put(&mut price, letter, number);
                    (letter, number) = (b' ', 0);
                }
                b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                other => letter = other,
            }
        }
        price
    }
}

fn put(price: &mut Price, letter: u8, number: u64) {
    match letter {
        // What a tier does not say is as it is below it.
        b'>' => return price.tiers.push(Tier { above: number, rates: price.rates }),
        b'C' => return price.context = Some(number),
        b'O' => return price.max_output = Some(number),
        b'D' => return price.deprecated = u32::try_from(number).ok(),
        _ => {}
    }
    let rates: &mut Rates = price.tiers.last_mut().map_or(&mut price.rates, |tier| &mut tier.rates);
    match letter {
        b'p' => rates.input = number,
        b'o' => rates.output = number,
        b'r' => rates.cache_read = Some(number),
        b'w' => rates.cache_write = Some(number),
        b'h' => rates.cache_write_1h = Some(number),
        b't' => rates.reasoning = Some(number),
        b'a' => rates.audio_in = Some(number),
        b'k' => rates.audio_cached = Some(number),
        b's' => rates.audio_out = Some(number),
        b'i' => rates.image_in = Some(number),
        b'd' => rates.image_out = Some(number),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_is_sorted_lower_case_and_read_to_its_last_word() {
        assert_eq!(rows().len(), TEXT.lines().count() - 1);
        assert!(rows().is_sorted_by(|a, b| (a.vendor, a.model) < (b.vendor, b.model)));
        for row in rows() {
            assert_eq!(row.model, row.model.to_lowercase());
            assert_eq!(find(row.vendor, row.model).map(|row| row.words), Some(row.words));
            for word in row.words.split(' ') {
                assert!(word.starts_with(|letter| "porwhtaksidCOD>".contains(letter)), "{row:?}");
                assert!(word[1..].parse::<u64>().is_ok(), "{row:?}");
            }
            let price = row.price();
            // 1,000 USD per million tokens: dearer is a slip of a unit.
            assert!((1..=1_000_000_000).contains(&price.rates.input), "{row:?}");
            assert!(price.rates.output <= 1_000_000_000, "{row:?}");
            assert!(price.tiers.is_sorted_by(|a, b| a.above < b.above), "{row:?}");
        }
        assert!(version().starts_with("litellm "), "{}", version());
    }

    #[test]
    fn a_tier_keeps_what_it_does_not_replace() {
        let row = Row { vendor: "v", model: "m", words: "C9 p1 o2 r3 w4 >100 p5 o6 >200 r7" };
        let price = row.price();
        let base = Rates { cache_read: Some(3), cache_write: Some(4), ..Rates::plain(1, 2) };
        assert_eq!((price.context, price.rates), (Some(9), base));
        let second = Rates { input: 5, output: 6, ..base };
        assert_eq!(price.tiers[0], Tier { above: 100, rates: second });
        // The next tier begins from the base again.
        assert_eq!(price.tiers[1], Tier { above: 200, rates: Rates { cache_read: Some(7), ..base } });
    }
}
